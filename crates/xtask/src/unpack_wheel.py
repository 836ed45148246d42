"""Unpacks one folder of a wheel:   unpack_wheel.py WHEEL PREFIX FOLDER

Standard library only. Names that lead anywhere but below FOLDER are refused, not repaired, and so is more
than a gigabyte.
"""

import shutil
import sys
import zipfile
from pathlib import Path

wheel, prefix, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
with zipfile.ZipFile(wheel) as archive:
    members = [m for m in archive.infolist() if m.filename.startswith(prefix) and not m.is_dir()]
    if sum(member.file_size for member in members) > 1 << 30:
        sys.exit(f"{wheel}: too large when unpacked")
    for member in members:
        parts = member.filename.removeprefix(prefix).split("/")
        if any(part in ("", ".", "..") or set(part) & set("\\:\0") for part in parts):
            sys.exit(f"{wheel}: refused name {member.filename!r}")
        path = folder.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Reads no more than the size above and compares the CRC; "x" never writes over anything or through a link.
        with archive.open(member) as source, path.open("xb") as target:
            shutil.copyfileobj(source, target)
