"""Apache Libcloud's GCE driver at work on an emulated project; runs in Libcloud's own environment.

    python libcloud_gce.py ENDPOINT PROJECT ZONE KEY_FILE TOKEN_FILE list|create|destroy [NAME]

Prints JSON. TOKEN_FILE holds an access token as Libcloud caches it: the driver's own exchange of a
key for a token goes to Google only.
"""

from __future__ import annotations

import json
import sys
from urllib.parse import urlsplit

from libcloud.common.google import GoogleBaseAuthConnection
from libcloud.compute.drivers import gce

PUBLISHER, FAMILY = "ubuntu-os-cloud", "ubuntu-2204-lts"
endpoint, project, zone, key_file, token_file, verb, *names = sys.argv[1:]
address = urlsplit(endpoint)
gce.GCEConnection.host = GoogleBaseAuthConnection.host = address.hostname


class Driver(gce.GCENodeDriver):
    """The driver with a port; a constructor's ``port`` collides with its own arguments."""

    def _ex_connection_class_kwargs(self):
        return {**super()._ex_connection_class_kwargs(), "port": address.port}


with open(key_file) as file:
    account = json.load(file)
driver = Driver(
    account["client_email"],
    account["private_key"],
    project=project,
    datacenter=zone,
    auth_type="SA",
    credential_file=token_file,
    secure=False,
)
if verb == "list":
    found = [
        {
            "name": node.name,
            "state": node.extra["status"],
            "addresses": node.public_ips,
            "labels": node.extra["labels"],
            "type": node.size,
            "zone": node.extra["zone"].name,
            "metadata": sorted(item["key"] for item in node.extra["metadata"].get("items", [])),
            "disks": [
                {"name": disk.name, "labels": disk.extra["labels"]}
                for disk in driver.list_volumes(ex_zone=zone)
                if disk.name.startswith(node.name)
            ],
        }
        for node in driver.list_nodes(ex_zone=zone)
    ]
    print(json.dumps(found))
elif verb == "create":
    (name,) = names
    image = driver.ex_get_image_from_family(FAMILY, ex_project_list=[PUBLISHER])
    node = driver.create_node(name, "e2-medium", image, location=zone)
    print(json.dumps({"name": node.name, "state": node.extra["status"]}))
else:
    (name,) = names
    print(json.dumps(driver.destroy_node(driver.ex_get_node(name, zone))))
