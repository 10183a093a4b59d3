import pytest

from services.contracts.errors import Refused
from services.contracts.pagination import check_limit, check_tenant


@pytest.mark.parametrize("limit", [0, -1, 11, 1.5, "5", None, True, float("nan")])
def test_a_limit_out_of_range_is_refused_with_the_range(limit: object) -> None:
    with pytest.raises(Refused, match="1 to 10"):
        check_limit(limit, most=10)
    assert check_limit(10, most=10) == 10


@pytest.mark.parametrize("tenant", [None, "1", "1 OR true", -1, 2**31, [1], True, 1.0])
def test_what_is_no_tenant_is_refused(tenant: object) -> None:
    with pytest.raises(Refused, match="tenant_id"):
        check_tenant(tenant)
    assert check_tenant(7) == 7
