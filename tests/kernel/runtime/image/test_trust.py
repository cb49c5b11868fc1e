"""A registry with a certificate of an authority of its own."""

import pytest

from runtime import errors
from runtime.image.http import HttpOptions
from runtime.image.origin import split_url
from runtime.image.registry import RegistryOptions, check_login
from runtime.image.trust import authorities_of
from tests.fakes.debian_registry import debian_registry, make_secrets


def place(folder, name, data, file="ca.crt"):
    (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / name / file).write_bytes(data)


async def test_an_authority_is_for_its_own_registry(tmp_path):
    make_secrets(tmp_path)
    tls = {"certificate": str(tmp_path / "crt"), "key": str(tmp_path / "key")}
    crt, first, second = (tmp_path / "crt").read_bytes(), tmp_path / "1", tmp_path / "2"
    options = RegistryOptions(http=HttpOptions(ca_folders=[first, second]))
    with debian_registry(tmp_path, {"tls": tls}) as port:
        domain = f"127.0.0.1:{port}"
        place(first, f"127.0.0.1:{port + 1}", crt)
        place(first, "127.0.0.1", crt)
        place(second, domain, crt, "ca.pem")
        with pytest.raises(errors.Refused, match=rf"certs\.d/{domain}/ca\.crt"):
            await check_login(domain, options)
        place(second, domain, crt)
        await check_login(domain, options)
        place(first, domain, b"no certificate", "other.crt")
        with pytest.raises(errors.Invalid, match=rf"{first}/{domain}/other\.crt.*PEM"):
            await check_login(domain, options)


@pytest.mark.parametrize(
    ("url", "names"),
    [
        ("https://r.example/", {"r.example", "r.example:443"}),
        ("https://r.example:444/", {"r.example:444"}),
        ("https://[::1]:5000/", {"[::1]:5000"}),
        ("https://../", set()),
    ],
)
def test_where_authorities_are_looked_for(tmp_path, url, names):
    folder = tmp_path / "certs.d"
    for name in (".", "..", "r.example", "r.example:443", "r.example:444", "[::1]:5000"):
        place(folder, name, b"")
    found = authorities_of(split_url(url)[0], [folder, tmp_path / "absent"])
    assert {path.parent.name for path in found} == names
