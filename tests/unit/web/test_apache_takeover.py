# SPDX-License-Identifier: Apache-2.0
"""The files of the machine's Apache that listen where we do."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssvm_agent.web.apache_files import MARK, ApacheLayout
from ssvm_agent.web.apache_takeover import enable_modules, take_over
from ssvm_agent.web.errors import PublishError

_DEBIAN = "# comment\nListen 80\n\n<IfModule ssl_module>\n\tListen 443\n</IfModule>\n"


def debian(root: Path) -> ApacheLayout:
    layout = ApacheLayout(conf_dir=root / "apache2")
    sites = layout.site("x").parent
    sites.mkdir(parents=True)
    available = layout.conf_dir / "sites-available"
    available.mkdir()
    (available / "000-default.conf").write_text("# default\n")
    (layout.conf_dir / "ports.conf").write_text(_DEBIAN)
    (sites / "000-default.conf").symlink_to("../sites-available/000-default.conf")
    return layout


def test_only_our_virtual_hosts_and_no_other_ports_are_left(tmp_path: Path) -> None:
    """boot-and-system.md 2.6."""
    layout = debian(tmp_path)
    ours, stale = layout.site("203.0.113.21"), layout.site("203.0.113.99")
    ours.write_text("Listen 203.0.113.21:80\n")
    stale.write_text("Listen 203.0.113.99:80\n")
    assert take_over(layout, "203.0.113.21")
    assert list(ours.parent.iterdir()) == [ours]
    ports = (layout.conf_dir / "ports.conf").read_text()
    assert [line for line in ports.splitlines() if not line.startswith("#")] == []


def test_everything_that_was_disabled_can_be_brought_back(tmp_path: Path) -> None:
    """Nothing an administrator wrote is lost."""
    layout = debian(tmp_path)
    sites, available = layout.site("x").parent, layout.conf_dir / "sites-available"
    (sites / "shop.conf").write_text("# in its place\n")
    (available / "wiki.conf").write_text("# another\n")
    (sites / "wiki.conf").write_text("# same name\n")
    (tmp_path / "apache2/elsewhere.conf").write_text("# linked\n")
    (sites / "linked.conf").symlink_to("../elsewhere.conf")
    (sites / "gone.conf").symlink_to("/no/such/file")
    layout.site("203.0.113.99").write_text(f"{MARK}Listen 203.0.113.99:80\n")
    done = take_over(layout, "203.0.113.21")
    assert list(sites.iterdir()) == []
    assert {path.name: path.read_text() for path in available.iterdir() if path.exists()} == {
        "000-default.conf": "# default\n",
        "shop.conf": "# in its place\n",
        "wiki.conf": "# another\n",
        "wiki-1.conf": "# same name\n",
        "linked.conf": "# linked\n",
    }
    assert (available / "gone.conf").readlink() == Path("/no/such/file")
    assert (layout.conf_dir / "ports.conf.before-ssvm-agent").read_text() == _DEBIAN
    assert sorted(done) == [
        "disabled 000-default.conf",
        "emptied ports.conf, kept as ports.conf.before-ssvm-agent",
        f"moved gone.conf to {available}/gone.conf",
        f"moved linked.conf to {available}/linked.conf",
        f"moved shop.conf to {available}/shop.conf",
        f"moved wiki.conf to {available}/wiki-1.conf",
        "removed our own vhost-203.0.113.99.conf",
    ]


def test_the_same_again_keeps_no_second_copy(tmp_path: Path) -> None:
    layout = debian(tmp_path)
    take_over(layout, "203.0.113.21")
    before = sorted(layout.conf_dir.rglob("*"))
    (layout.conf_dir / "ports.conf").write_text(_DEBIAN)
    assert len(take_over(layout, "203.0.113.21")) == 1
    assert sorted(layout.conf_dir.rglob("*")) == before


def test_what_is_ours_already_is_left_alone(tmp_path: Path) -> None:
    layout = debian(tmp_path)
    take_over(layout, "203.0.113.21")
    assert not take_over(layout, "203.0.113.21")


def test_a_machine_without_these_files_is_fine(tmp_path: Path) -> None:
    assert not take_over(ApacheLayout(conf_dir=tmp_path / "none"), "203.0.113.21")


def modules_of_debian(conf_dir: Path) -> None:
    available = conf_dir / "mods-available"
    available.mkdir(parents=True)
    for file in Path("/etc/apache2/mods-available").glob("*.*"):
        (available / file.name).write_bytes(file.read_bytes())


@pytest.mark.needs("apache2")
def test_modules_are_enabled_once_the_way_debian_does_it(tmp_path: Path) -> None:
    layout = ApacheLayout(conf_dir=tmp_path)
    modules_of_debian(tmp_path)
    assert enable_modules(layout)
    enabled = tmp_path / "mods-enabled"
    assert (enabled / "ssl.load").readlink() == Path("../mods-available/ssl.load")
    assert (enabled / "ssl.conf").exists()
    assert not (enabled / "headers.conf").is_symlink(), "that module has no settings"
    assert not enable_modules(layout)


@pytest.mark.needs("apache2")
def test_a_module_that_is_not_installed_is_named(tmp_path: Path) -> None:
    modules_of_debian(tmp_path)
    (tmp_path / "mods-available/proxy_http.load").unlink()
    with pytest.raises(PublishError, match=r"no module proxy_http.*publish to builtin"):
        enable_modules(ApacheLayout(conf_dir=tmp_path))


def test_an_apache_set_up_in_another_way_is_left_alone(tmp_path: Path) -> None:
    assert not enable_modules(ApacheLayout(conf_dir=tmp_path))
    assert list(tmp_path.iterdir()) == []
