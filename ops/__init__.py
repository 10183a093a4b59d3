"""For the people who run Vigil."""

import warnings

# Known and decided (docs/adr): an operator's terminal and every log need not be told at each start.
warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")
