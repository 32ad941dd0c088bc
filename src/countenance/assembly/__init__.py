"""The composition root: settings in, an assembled server out.

The only place that names concrete classes, and the lowest that knows `config`: everything below gets plain
values. Parts are closed in the reverse of the order in which they were opened.

`parts` makes what settings alone decide, `stores` opens the database and does work on a whole one, `register` puts the
accounts and the log on it, `duties` is what a server does unasked, `service` is all of it together.
"""

from countenance.assembly.first_use import write_client_config
from countenance.assembly.register import Register, open_admin
from countenance.assembly.service import Assembled, Share, open_service, prepared
from countenance.assembly.stores import copy_database, look_at_database, migrate_database, recover, restore
from countenance.gallery.answering import Answer, Answering

__all__ = [
    "Answer",
    "Answering",
    "Assembled",
    "Register",
    "Share",
    "copy_database",
    "look_at_database",
    "migrate_database",
    "open_admin",
    "open_service",
    "prepared",
    "recover",
    "restore",
    "write_client_config",
]
