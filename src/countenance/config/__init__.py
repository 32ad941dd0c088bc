"""Every setting of the server: its name, meaning, bounds, default, and where its value came from.

Nothing below `assembly` imports this package; objects get values as arguments.
"""

from countenance.config.kinds import SettingsError
from countenance.config.loading import Description, Loaded, describe, load
from countenance.config.settings import Settings, is_loopback

__all__ = ["Description", "Loaded", "Settings", "SettingsError", "describe", "is_loopback", "load"]
