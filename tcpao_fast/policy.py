"""What is asked of traffic beyond the keys themselves."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Policy:
    """Choices that the standards leave to the operator.

    Parameters
    ----------
    ao_required : bool
        Whether an unsigned segment is `ao_required` even where no MKT matches its connection, as
        Linux's ``ao_required`` socket flag has it.
    """

    ao_required: bool = False
