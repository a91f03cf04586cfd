"""One notebook run by papermill, one folder a run, the report."""

import sys

# jsonschema, which nbformat imports, compiles a grammar of web addresses wherever this module is found: three seconds
# of every process that runs a notebook. A module that is None counts as missing, and no notebook needs the check.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
