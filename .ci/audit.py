"""Ask a source of advisories whether what a lock pins for this platform has known vulnerabilities.

Exit code 1 if it has, or if the audit can't be made; 0 if it hasn't, or if no source can be asked,
which is said: a machine without network must still be able to run `make check`.
Example: python .ci/audit.py requirements.lock
"""
# ruff: noqa: T201

import json
import re
import subprocess
import sys
import textwrap
from typing import Any

SOURCES = ("pypi", "osv")  # of pip-audit, in the order in which they are asked
# The last line of a pip-audit whose source can't be reached, or answers with something else.
NO_ANSWER = re.compile(r"requests\.exceptions\.|pip_audit\._service\.|ERROR:pip_audit\._cli:Tip: ")


class Unreachable(Exception):
    """A source that can't be asked; why, for the user."""


def ask(source: str, lock: str) -> list[dict[str, Any]]:
    """What a source says of each package, as pip-audit's JSON has it.

    Raises:
        Unreachable: it doesn't answer, or knows none of the packages: a mirror of an index without
            its advisories gives 404 for each, which pip-audit takes for no vulnerabilities.
        SystemExit: pip-audit failed for another reason, such as a lock that it can't read.
    """
    command = [sys.executable, "-m", "pip_audit", "--require-hashes", "--disable-pip"]
    command += ["--requirement", lock, "--vulnerability-service", source]
    command += ["--format", "json", "--progress-spinner", "off"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if not result.stdout:  # it writes all or nothing
        reason = (result.stderr.strip() or "no reason given").splitlines()[-1]
        if NO_ANSWER.match(reason):
            raise Unreachable(reason)
        sys.exit(f"pip-audit can't audit {lock}: {reason}")
    packages: list[dict[str, Any]] = json.loads(result.stdout)["dependencies"]
    if all("skip_reason" in package for package in packages):
        raise Unreachable("it knows none of the packages")
    return packages


def judge(packages: list[dict[str, Any]], source: str) -> int:
    """Print what is known of the packages; how many have vulnerabilities."""
    for package in packages:
        for found in package.get("vulns", ()):
            fixed = " or ".join(found["fix_versions"]) or "no version yet"
            known_as = ", ".join([found["id"], *found.get("aliases", ())])
            print(f"{package['name']} {package['version']}: {known_as}; fixed in {fixed}")
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    if skipped:
        print(f"Not known to {source}, so not audited: {', '.join(skipped)}")
    vulnerable = sum(bool(package.get("vulns")) for package in packages)
    audited = len(packages) - len(skipped)
    print(f"Audit by {source}: {vulnerable} of {audited} packages have known vulnerabilities")
    return vulnerable


def main(lock: str) -> int:
    """Ask source after source until one answers; the exit code."""
    reasons = []
    for source in SOURCES:
        try:
            return 1 if judge(ask(source, lock), source) else 0
        except Unreachable as error:
            reasons.append(textwrap.shorten(f"{source}: {error}", 200))
    print("Audit SKIPPED, as no source of advisories can be asked:", *reasons, sep="\n  ")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
