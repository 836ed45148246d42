"""Verifies a model folder: python3 -m weighbridge_ref verify MODEL (--vkey LINE... | --policy FILE | --head ID).

The exit status is that of the `weighbridge` command: 0 = verified, 1 = refused, 2 = could not tell.
"""

import argparse
import sys
import time
from pathlib import Path

from . import model, trust, values
from .refused import Refused

UNIX_EPOCH = values.parse_time("1970-01-01T00:00:00Z")


def parse_arguments(arguments):
    parser = argparse.ArgumentParser(prog="weighbridge_ref", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    verify = commands.add_parser("verify", help="verify a model folder")
    verify.add_argument("model", type=Path, metavar="MODEL")
    verify.add_argument("--meta", type=Path, help="where head and lists are, if not in MODEL/weighbridge")
    verify.add_argument("--vkey", action="append", metavar="LINE", help="a trusted key; of several any one")
    verify.add_argument("--policy", type=Path, metavar="FILE", help="a trust policy")
    verify.add_argument("--name", help="the model that is wanted")
    verify.add_argument("--head", metavar="ID", help="the head that is wanted; alone, it is the trust")
    verify.add_argument("--min-revision", type=int, default=0, metavar="N")
    verify.add_argument("--tensors", action="store_true", help="compare tensor hashes too")
    verify.add_argument("--now", metavar="TIME", help="instead of the system's clock; or `unknown`")
    verify.add_argument("--allow-expired", action="store_true")
    options = parser.parse_args(arguments)
    if bool(options.vkey) + bool(options.policy) > 1 or not (options.vkey or options.policy or options.head):
        parser.error("say whom to trust: --vkey LINE, --policy FILE, or --head ID")
    return options


def verify(options) -> int:
    head = values.parse_hash(options.head) if options.head else None
    if options.policy:
        policy = trust.parse_policy(options.policy.read_bytes())
    elif options.vkey:
        policy = trust.policy_of_vkeys(options.vkey)
    else:
        policy = trust.policy_of_head(head)
    if options.now is None:
        now = UNIX_EPOCH + int(time.time())
    else:
        now = None if options.now == "unknown" else values.parse_time(options.now)
    expected = trust.Expectation(options.name, head, options.min_revision, now, options.allow_expired)

    report = model.verify(options.model, policy, expected, options.meta, options.tensors)
    verified = report.verified
    print(f"model    {verified.head.name}, revision {verified.head.revision}")
    print(f"head     {verified.head_id.hex()}")
    print(f"signers  {' '.join(verified.signers) or 'none asked for'}")
    if verified.role == trust.IMPORT:
        sources = " ".join(value for key, value in verified.head.ext if key == "source")
        print(f"imported from {sources or 'nowhere named'}; not signed by {verified.head.name.split('/')[0]}")
    for entry in report.accepted:
        aside = ", tensors not compared" if entry.path in report.uncompared else ""
        print(f"ok       {entry.path}  {entry.size} B{aside}")
    for path in report.ignored:
        print(f"ignored  {path}")
    for place in report.left_out:
        print(f"left out {place}")
    for place in report.unknown:
        print(f"unknown  {place}")
    for refused in report.refusals:
        print(f"refused  {refused}")
    return 1 if report.refusals else 2 if report.unknown else 0


def main() -> int:
    try:
        return verify(parse_arguments(sys.argv[1:]))
    except Refused as refused:
        print(f"weighbridge_ref: refused: {refused}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"weighbridge_ref: error: {error} [W9002]", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
