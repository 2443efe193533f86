"""Writers of scenes and surfaces in the layouts that readers read.

    write_scenes(Plan(Path("scenes"), count=2000, val=200, seed=0, size=(320, 320)))

One file per layout says which files an image becomes; table.py names them. plan.py says which seeds are
written, write.py writes them, workers.py on all cores, files.py so that each is whole or not there.
"""

from argus_edge.train.data.layouts.plan import Plan
from argus_edge.train.data.layouts.table import LAYOUT_NAMES
from argus_edge.train.data.layouts.write import write_scenes

__all__ = ["LAYOUT_NAMES", "Plan", "write_scenes"]
