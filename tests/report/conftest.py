"""The comparison fixtures of the analysis tests: the report is tested on the same stand-ins."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

_spec = spec_from_file_location("analysis_stand_ins", Path(__file__).parents[1] / "analysis" / "conftest.py")
_stand_ins = module_from_spec(_spec)
_spec.loader.exec_module(_stand_ins)

make_result = _stand_ins.make_result
make_comparison = _stand_ins.make_comparison
