"""Terminates the OCI instance that it runs on: the program behind ``byoc-end`` there.

It is sent to the machine as text (see ending.py) and runs on whatever Python 3 that has, 3.6 at
least, with the standard library and the openssl command alone; byoc itself never runs it. The
machine's certificate is exchanged for a session token, and the request to terminate is signed with
the session's key. It leaves with 0 once OCI has agreed. The variable ``OCI_METADATA_BASE_URL`` is
the one that Oracle's SDKs know.
"""

import base64
import email.utils
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from http.client import HTTPException

METADATA = os.environ.get("OCI_METADATA_BASE_URL", "http://169.254.169.254/opc/v2")
API = ""
TROUBLE = (OSError, ValueError, LookupError, HTTPException, subprocess.SubprocessError)
OPEN = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


def _get(path: str) -> bytes:
    headers = {"Authorization": "Bearer Oracle"}
    request = urllib.request.Request("%s/%s" % (METADATA, path), headers=headers)  # noqa: S310
    return bytes(OPEN(request, timeout=10).read())


def _openssl(*argv: str, data: bytes = b"") -> bytes:
    argv = ("openssl", *argv)
    pipe, no = subprocess.PIPE, subprocess.DEVNULL
    return subprocess.run(argv, input=data, stdout=pipe, stderr=no, check=True).stdout


def _call(verb: str, url: str, name: str, key: str, body: bytes = b"") -> bytes:
    names = "date (request-target)" if body else "date (request-target) host"
    _, _, host, path = url.split("/", 3)
    headers = {"date": email.utils.formatdate(usegmt=True), "host": host}
    if body:
        names += " content-length content-type x-content-sha256"
        headers["content-length"] = str(len(body))
        headers["content-type"] = "application/json"
        headers["x-content-sha256"] = base64.b64encode(hashlib.sha256(body).digest()).decode()
    signed = dict(headers, **{"(request-target)": "%s /%s" % (verb.lower(), path)})
    text = "\n".join("%s: %s" % (each, signed[each]) for each in names.split())
    signature = base64.b64encode(_openssl("dgst", "-sha256", "-sign", key, data=text.encode()))
    headers["authorization"] = (
        'Signature version="1",keyId="%s",algorithm="rsa-sha256",headers="%s",signature="%s"'
        % (name, names, signature.decode())
    )
    request = urllib.request.Request(url, body or None, headers, method=verb)  # noqa: S310
    return bytes(OPEN(request, timeout=30).read())


def _end(folder: str) -> None:
    me = json.loads(_get("instance/").decode())
    realm = me["regionInfo"]["realmDomainComponent"]
    leaf, session = os.path.join(folder, "leaf"), os.path.join(folder, "session")
    with open(leaf, "wb") as file:
        file.write(_get("identity/key.pem"))
    certificate = _get("identity/cert.pem")
    der = _openssl("x509", "-outform", "DER", data=certificate)
    subject = _openssl("x509", "-noout", "-subject", data=certificate).decode()
    tenancy = re.findall(r"opc-tenant:([\w.-]+)", subject)[0]
    digest = hashlib.sha1(der).hexdigest().upper()  # noqa: S324
    name = "%s/fed-x509/%s" % (tenancy, ":".join(re.findall("..", digest)))
    _openssl("genrsa", "-out", session, "2048")
    intermediate = _openssl("x509", "-outform", "DER", data=_get("identity/intermediate.pem"))
    public = _openssl("rsa", "-in", session, "-pubout", "-outform", "DER")
    body = {
        "certificate": base64.b64encode(der).decode(),
        "publicKey": base64.b64encode(public).decode(),
        "intermediateCertificates": [base64.b64encode(intermediate).decode()],
    }
    where = API or "https://auth.%s.%s" % (me["canonicalRegionName"], realm)
    answer = _call("POST", where + "/v1/x509", name, leaf, json.dumps(body).encode())
    token = json.loads(answer.decode())["token"]
    where = API or "https://iaas.%s.%s" % (me["canonicalRegionName"], realm)
    path = "/20160918/instances/%s?preserveBootVolume=false" % me["id"]
    _call("DELETE", where + path, "ST$" + token, session)


def _main() -> int:
    os.umask(0o077)
    for pause in (2, 4, 8, 16, 0):
        try:
            with tempfile.TemporaryDirectory() as folder:
                _end(folder)
            return 0
        except urllib.error.HTTPError as error:
            said = error.read()[:300]
            sys.stderr.write("byoc-end: OCI answers %s: %r\n" % (error.code, said))
            if error.code in (400, 401, 403, 404):
                return 1
        except TROUBLE as error:
            sys.stderr.write("byoc-end: %r\n" % (error,))
        time.sleep(pause)
    return 1


if __name__ == "__main__":
    sys.exit(_main())
