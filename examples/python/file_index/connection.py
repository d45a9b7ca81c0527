"""Reaching the server: it may start after us, and it may be away for a while."""

import argparse
import asyncio

from temporalio.client import Client


def arguments(description: str) -> argparse.ArgumentParser:
    """The options that every program here has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--address", default="localhost:7233", help="of the server (default: %(default)s)")
    return parser


async def connect(address: str) -> Client:
    """Tries until the server answers."""
    while True:
        try:
            return await Client.connect(address)
        except RuntimeError:
            await asyncio.sleep(0.2)
