#!/usr/bin/env python3
"""compare.py PREFIX REFERENCE GOT: one TAP line per block of two outputs.

A block is a line that starts in the first column and the indented lines after it. A block passes when it is the same in
both files; otherwise its difference follows as a comment. A block that the file named by KNOWN lists (`PREFIX NAME: why`)
counts as skipped when it differs.
"""

import difflib
import os
import sys


def blocks(path):
    found, name = {}, None
    if not os.path.exists(path):
        return found
    with open(path, errors="replace") as lines:
        for line in lines:
            line = line.rstrip("\n")
            if line and not line[0].isspace():
                name = line
                found[name] = []
            elif name is not None:
                found[name].append(line)
    return found


def known_differences():
    path = os.environ.get("KNOWN")
    if not path:
        return {}
    with open(path) as lines:
        return dict(line.rstrip("\n").split(": ", 1) for line in lines if ": " in line)


def main():
    prefix, reference, got = sys.argv[1], blocks(sys.argv[2]), blocks(sys.argv[3])
    known = known_differences()
    for name, wanted in reference.items():
        have = got.get(name)
        if have == wanted:
            print(f"ok {prefix} {name}")
            continue
        why = known.get(f"{prefix} {name}")
        print(f"ok {prefix} {name} # SKIP {why}" if why and have is not None else f"not ok {prefix} {name}")
        if have is None:
            print("#   did not run")
            continue
        for line in difflib.unified_diff(wanted, have, "linux", "chitin", lineterm="", n=1):
            if not line.startswith(("---", "+++")):
                print(f"#   {line[:300]}")
    if not reference:
        print(f"not ok {prefix}: the reference run printed nothing")


main()
