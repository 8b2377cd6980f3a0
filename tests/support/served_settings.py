"""Settings of a hub that is about to serve, from a file."""

import os
from collections.abc import Mapping
from pathlib import Path

from hub.settings.reading import check_settings
from hub.settings.settings import Settings


def load_settings(path: Path, *, environ: Mapping[str, str] = os.environ) -> Settings:
    """Load settings whose referenced secrets must all exist. Raises SettingsInvalid."""
    return check_settings(path, environ=environ, serving=True).usable()
