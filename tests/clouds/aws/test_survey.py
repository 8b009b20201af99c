"""What AWS is asked about offers: zones, quotas with what is used, and spot prices."""

from __future__ import annotations

import pytest

from byoc.errors import AccessError
from byoc.pricing import catalog
from byoc.providers.aws import quotas
from byoc.providers.base import Quota
from byoc.resources import Offer
from tests.clouds.accounts import Account
from tests.clouds.aws.conftest import Open, boto, fault

REGION = "us-east-1"


def offers(*kinds: str, region: str = REGION) -> list[Offer]:
    """Both markets of some types."""
    found = [
        catalog.find("aws", region, kind, market)
        for kind in kinds
        for market in ("on-demand", "spot")
    ]
    return [one for one in found if one is not None]


def test_zones_are_those_that_sell_it(account: Account) -> None:
    """Each type has the zones that sell it, in order; a type that is sold nowhere has none."""
    asked = [
        *offers("g6.xlarge"),
        *offers("p5.48xlarge"),
        offers("m7i.large")[0]._replace(type="x"),
    ]
    found = account.provider.survey(REGION, asked).zones
    assert found["g6.xlarge"] == tuple(sorted(found["g6.xlarge"])) != ()
    assert "us-east-1e" not in found["g6.xlarge"] and found["x"] == ()
    told = boto().describe_instance_type_offerings(
        LocationType="availability-zone",
        Filters=[{"Name": "instance-type", "Values": ["p5.48xlarge"]}],
    )["InstanceTypeOfferings"]
    assert set(found["p5.48xlarge"]) == {one["Location"] for one in told}


def test_a_zone_without_a_subnet_is_left_out(rented: Open) -> None:
    """Where nothing can be launched nothing is offered."""
    account = rented()
    zone = [{"Name": "availability-zone", "Values": ["us-east-1a"]}]
    [subnet] = boto().describe_subnets(Filters=zone)["Subnets"]
    boto().delete_subnet(SubnetId=subnet["SubnetId"])
    zones = account.provider.survey(REGION, offers("m7i.large")).zones["m7i.large"]
    assert zones and "us-east-1a" not in zones


def test_quotas_are_told_with_what_is_used(rented: Open) -> None:
    """Limit and used vCPUs of each bucket that an offer draws on, by family and market."""
    row = "[[quota]]\ncloud = 'aws'\nregion = 'us-east-1'\nbucket = 'L-DB2E81BA'\nlimit = 8\n"
    account = rented(row)
    for market, count in (("on-demand", 1), ("spot", 2)):
        offer = next(o for o in offers("g6.xlarge") if o.market == market)
        for _ in range(count):
            account.provider.launch(account.request(offer))
    survey = account.provider.survey(REGION, offers("g6.xlarge", "m7i.large"))
    by_bucket = {one.bucket: one for one in survey.quotas}
    assert by_bucket["L-DB2E81BA"] == Quota("L-DB2E81BA", REGION, 8.0, 4.0, "vCPU")
    assert by_bucket["L-3819A6DF"].used == 8.0 and by_bucket["L-1216C47A"].used == 0.0
    [draw] = survey.draws["g6.xlarge", "spot"]
    assert draw == ("L-3819A6DF", 4.0) and "g6.xlarge" in dict.fromkeys(k for k, _ in survey.draws)


def test_the_bucket_of_every_type_in_the_catalogue_is_known() -> None:
    """Each type and market draws on a quota that the survey can ask for."""
    for offer in catalog.offers("aws"):
        assert quotas.bucket(offer.type, offer.market) in quotas.NAMES, offer.type
    assert quotas.bucket("p5en.48xlarge", "spot") == "L-C4BD4855"
    assert quotas.bucket("p4d.24xlarge", "spot") == "L-7212CCBC"
    assert quotas.bucket("gr6.4xlarge", "on-demand") == "L-DB2E81BA"
    assert quotas.bucket("", "spot") == ""


def test_spot_prices_are_told_by_zone(account: Account) -> None:
    """Spot offers have a price in each zone that sells them, for spot alone."""
    survey = account.provider.survey(REGION, offers("g6.xlarge", "t3.medium"))
    zones = survey.zones["g6.xlarge"]
    assert {key for key in survey.prices if key[0] == "g6.xlarge"} == {
        ("g6.xlarge", zone, "spot") for zone in zones
    }
    assert len(set(survey.prices.values())) > 1
    on_demand = offers("g6.xlarge")[:1]
    assert account.provider.survey(REGION, on_demand).prices == {}


def test_a_question_that_fails_is_told_and_the_others_are_answered(rented: Open) -> None:
    """Without permission for quotas or prices there are zones all the same."""
    account = rented(
        fault("GetServiceQuota", "deny", -1) + fault("DescribeSpotPriceHistory", "deny", -1)
    )
    survey = account.provider.survey(REGION, offers("m7i.large"))
    assert set(survey.failed) == {"quotas", "prices"}
    assert all(isinstance(error, AccessError) for error in survey.failed.values())
    assert survey.zones["m7i.large"] and not survey.quotas and not survey.prices


def test_a_quota_that_aws_does_not_keep_is_not_told(rented: Open) -> None:
    """In a region without such a quota nothing is concluded."""
    account = rented(fault("GetServiceQuota", "NoSuchResourceException", -1))
    survey = account.provider.survey(REGION, offers("m7i.large"))
    assert survey.quotas == () and not survey.failed


def test_a_region_where_nothing_may_be_asked_is_an_error(account: Account) -> None:
    """Where every question is refused the survey itself is, with the scope of the refusal."""
    asked = [one._replace(region="eu-south-2") for one in offers("m7i.large")]
    with pytest.raises(AccessError) as caught:
        account.provider.survey("eu-south-2", asked)
    assert caught.value.scope == "region"
