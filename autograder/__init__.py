"""The instructor's half: authoring, releasing, grading."""

import sys

# jsonschema would compile a grammar of internationalised addresses when it is imported, more than a second of work in
# every process, for a check of formats that nothing here asks for
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
