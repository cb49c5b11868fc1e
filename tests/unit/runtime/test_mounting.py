"""What of mounts can be told without one."""

from runtime.mounting import _overlay_data, _unescape


def test_mountinfo_escapes():
    assert _unescape(rb"/a\040b\011c\012d\134e,f:g") == b"/a b\tc\nd\\e,f:g"


def test_overlay_options():
    data = _overlay_data([b"/2", b"/1", b"/up", b"/w"])
    assert data == b"lowerdir=/2:/1,upperdir=/up,workdir=/w,index=off,metacopy=off"
