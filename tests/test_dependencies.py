"""The lock is what setup.cfg asks for, with hashes; its licences and advisories are known."""

import json
import re
import subprocess
import sys
import threading
from configparser import ConfigParser
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

sys.path.insert(0, str(ROOT / ".ci"))

import audit
import licences

LOCK = (ROOT / "requirements-dev.lock").read_text(encoding="utf-8")
DEAD = "http://127.0.0.1:9"  # the port of discard, where nothing listens


def listed(purpose):
    """Package, version, licence: the rows of one table of the page."""
    page = licences.PAGE.read_text(encoding="utf-8")
    table = page.split(f"## {purpose}\n")[1].split("##")[0]
    return re.findall(r"^\| ([^|]+) \| (\d[^|]*) \| ([^|]+) \|$", table, re.M)


def test_the_lock_has_what_setup_cfg_asks_for():
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    lists = [setup["options"]["install_requires"], *setup["options.extras_require"].values()]
    versions, _ = licences.locked(LOCK)
    wanted = [Requirement(line) for line in "\n".join(lists).splitlines() if line]
    assert len(wanted) > 20
    for requirement in wanted:
        version = versions[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement} is {version}: make lock"


def test_every_package_is_locked_to_hashes_and_to_no_host():
    entries = [entry for entry in re.split(r"\n(?=\S)", LOCK) if not entry.startswith("#")]
    assert len(entries) > 100
    for entry in entries:
        assert re.match(r"[\w.-]+==[^\s;]+( ; [^\\]+)? \\\n    --hash=sha256:[0-9a-f]{64}", entry)
    assert "://" not in LOCK
    assert not re.search(r"^-", LOCK, re.M)  # an option, such as --index-url


def test_the_page_of_licences_lists_what_is_locked():
    versions, parents = licences.locked(LOCK)
    for purpose, names in licences.purposes(parents).items():
        expected = [(name, versions[name]) for name in names]
        assert [row[:2] for row in listed(purpose)] == expected, "make licences"
        versions = {name: version for name, version in versions.items() if name not in names}
    assert not versions


def test_a_package_is_for_what_needs_it_first():
    names = licences.purposes(
        {
            "torch": {"gan-style (setup.cfg)", "torchvision"},
            "sympy": {"torch"},
            "mpmath": {"sympy", "pytest"},
            "mkdocs-material": {"gan-style (setup.cfg)"},
            "pytest": {"gan-style (setup.cfg)", "pytest-cov"},
            "pluggy": {"pytest"},
        }
    )
    assert names == {
        "To train and translate": ["mpmath", "sympy", "torch"],
        "For the documentation": ["mkdocs-material"],
        "To read HEIC, an extra": [],
        "For development": ["pluggy", "pytest"],
    }


def test_nothing_that_runs_with_the_program_is_under_the_gpl():
    gpl = re.compile(r"\bA?GPL(?!\S* WITH )|General Public|Affero|UNKNOWN")
    assert gpl.search("GPL-2.0-only")
    assert gpl.search("GNU Affero General Public License v3")
    assert not gpl.search("BSD-3-Clause AND GPL-3.0-or-later WITH GCC-exception-3.1")
    rows = listed("To train and translate")
    assert len(rows) > 30
    assert [row for row in rows if gpl.search(row[2])] == []


@pytest.fixture
def lock(tmp_path):
    """A lock of one package, which no source has ever heard of."""
    path = tmp_path / "toy.lock"
    path.write_text(f"gan-style-toy==1.0 --hash=sha256:{'0' * 64}\n", encoding="utf-8")
    return str(path)


@pytest.fixture
def osv(monkeypatch, tmp_path):
    """OSV on this machine, answering with its `status` and `answer`; no other source is reached."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(server.status)
            self.end_headers()
            self.wfile.write(json.dumps(server.answer).encode())

        def log_message(self, *arguments):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        server.status, server.answer = 200, {}
        url = f"http://127.0.0.1:{server.server_port}"
        settings = {"PIP_AUDIT_OSV_URL": url, "https_proxy": DEAD, "no_proxy": "127.0.0.1"}
        settings["XDG_CACHE_HOME"] = str(tmp_path / "cache")
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.slow
def test_a_known_vulnerability_fails_the_audit(lock, osv, capsys):
    fixed = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.1"}]}]
    affected = [{"package": {"name": "gan-style-toy", "ecosystem": "PyPI"}, "ranges": fixed}]
    osv.answer = {"vulns": [{"id": "PYSEC-1", "aliases": ["CVE-2"], "affected": affected}]}
    assert audit.main(lock) == 1
    printed = capsys.readouterr().out
    assert "gan-style-toy 1.0: PYSEC-1, CVE-2; fixed in 1.1\n" in printed
    assert "1 of 1 packages have known vulnerabilities" in printed


def test_no_known_vulnerability_passes_the_audit(lock, osv, monkeypatch, capsys):
    monkeypatch.setattr(audit, "SOURCES", ("osv",))
    assert audit.main(lock) == 0
    assert capsys.readouterr().out == "Audit by osv: 0 of 1 packages have known vulnerabilities\n"


@pytest.mark.parametrize(("status", "page"), [(503, ""), (200, "<html>a login</html>")])
def test_a_source_that_does_not_answer_is_unreachable(lock, osv, status, page, monkeypatch):
    osv.status = status
    monkeypatch.setattr(json, "dumps", lambda answer: page)
    with pytest.raises(audit.Unreachable):
        audit.ask("osv", lock)


def test_an_audit_without_a_source_is_said_to_be_skipped(lock, monkeypatch, capsys):
    def ask(source, lock):
        raise audit.Unreachable("no network")

    monkeypatch.setattr(audit, "ask", ask)
    assert audit.main(lock) == 0
    assert capsys.readouterr().out == (
        "Audit SKIPPED, as no source of advisories can be asked:\n"
        "  pypi: no network\n  osv: no network\n"
    )


def test_an_index_that_knows_no_package_is_no_source(lock, monkeypatch):
    answer = {"dependencies": [{"name": "gan-style-toy", "skip_reason": "not found"}]}
    finished = subprocess.CompletedProcess([], 0, stdout=json.dumps(answer), stderr="")
    monkeypatch.setattr(audit.subprocess, "run", lambda *args, **options: finished)
    with pytest.raises(audit.Unreachable, match="knows none"):
        audit.ask("pypi", lock)


def test_packages_that_a_source_does_not_know_are_named(capsys):
    known = {"name": "torch", "version": "2.15.0", "vulns": []}
    unknown = {"name": "gan-style-toy", "skip_reason": "not found"}
    assert audit.judge([known, unknown], "pypi") == 0
    assert "not audited: gan-style-toy\n" in capsys.readouterr().out


def test_a_lock_that_cannot_be_audited_fails_the_audit(tmp_path):
    path = tmp_path / "toy.lock"
    path.write_text("gan-style-toy==1.0\n", encoding="utf-8")
    with pytest.raises(SystemExit, match=r"can't audit .*does not contain a hash"):
        audit.main(str(path))
