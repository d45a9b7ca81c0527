"""The activities: each may run more than once and gives the same result each time.

What they print is for the person who watches, and `cargo xtask demo` counts it to know when to kill the server.
"""

import hashlib
import json
import os
import re
from collections import Counter, defaultdict
from pathlib import Path

from temporalio import activity

from file_index import Entry, Summary, WriteRequest

WORD = re.compile(r"[A-Za-z_][A-Za-z_0-9]{3,}")
WORDS_OF_A_FILE = 10
SKIPPED_FOLDERS = {"target", "node_modules", "__pycache__"}


@activity.defn
def list_files(folder: str) -> list[str]:
    """All files below the folder, in order; hidden folders and those that hold build results are left out."""
    found = []
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in SKIPPED_FOLDERS and not name.startswith(".")]
        found += [str(Path(root, name)) for name in files]
    tell(f"listed {len(found)}")
    return sorted(found)


@activity.defn
def hash_file(path: str) -> Entry:
    """Reads one file. A file that cannot be read fails the attempt, and the server tries again later."""
    content = Path(path).read_bytes()
    text = content.decode("utf-8", errors="replace")
    words = Counter(word.lower() for word in WORD.findall(text))
    frequent = sorted(words, key=lambda word: (-words[word], word))[:WORDS_OF_A_FILE]
    entry = Entry(path, len(content), text.count("\n"), hashlib.sha256(content).hexdigest(), frequent)
    tell(f"hashed {activity.info().attempt} {path}")
    return entry


@activity.defn
def write_index(request: WriteRequest) -> Summary:
    """Writes the index beside its place and moves it there, so that a half-written one is never seen."""
    files_of_word = defaultdict(list)
    for entry in request.entries:
        for word in entry.words:
            files_of_word[word].append(entry.path)
    index = {
        "files": {entry.path: {"sha256": entry.sha256, "lines": entry.lines} for entry in request.entries},
        "words": dict(sorted(files_of_word.items())),
    }
    draft = Path(f"{request.output}.draft")
    draft.write_text(json.dumps(index, indent=1))
    draft.replace(request.output)
    largest = max(request.entries, key=lambda entry: entry.size_bytes, default=None)
    return Summary(
        output=request.output,
        files=len(request.entries),
        size_bytes=sum(entry.size_bytes for entry in request.entries),
        lines=sum(entry.lines for entry in request.entries),
        words=len(files_of_word),
        copies=len(request.entries) - len({entry.sha256 for entry in request.entries}),
        largest=largest.path if largest else "",
    )


def tell(line: str) -> None:
    """One write, so that lines of several threads do not mix."""
    print(f"{line}\n", end="", flush=True)
