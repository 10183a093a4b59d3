"""Commands and processes for the operators of Vigil."""

import warnings

# Known and decided (docs/adr): the warning at each start helps neither operators nor logs.
warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")
