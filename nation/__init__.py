"""A synthetic nation for demo, tests and benches: residents of Japan that nobody is, and what happens to them.

Resident codes and individual numbers are of the block that begins with `00`.
"""

from nation.csv_files import NotWritableError, to_csv, write_changes, write_csv, write_residents, write_truth
from nation.nation import Nation, PeriodOrderError, residents
from nation.places import Municipality, UnknownMunicipalityError, municipalities
from nation.register import CENTER, TrueRegisters, TrueResident
from nation.submissions import HEADERS, Submission

__all__ = [
    "CENTER",
    "HEADERS",
    "Municipality",
    "Nation",
    "NotWritableError",
    "PeriodOrderError",
    "Submission",
    "TrueRegisters",
    "TrueResident",
    "UnknownMunicipalityError",
    "municipalities",
    "residents",
    "to_csv",
    "write_changes",
    "write_csv",
    "write_residents",
    "write_truth",
]
