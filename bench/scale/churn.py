"""How nodes come and go: drawn from measured or stated distributions. All times in seconds."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S
YEAR_S = 365 * DAY_S


@dataclass(frozen=True)
class Churn:
    """Sessions and absences are lognormal by median and sigma; what is rare comes at random at a yearly rate.

    dies: nodes that never come back, with their disks; each is replaced by a new one. disk: comes back empty.
    provider_out: outages of a whole provider. operator_quits: all nodes of an operator, for good.
    """

    up_median_s: float
    up_sigma: float
    down_median_s: float
    down_sigma: float
    dies_a_year: float
    disk_a_year: float
    provider_out_a_year: float = 1.0
    provider_out_median_s: float = 2 * HOUR_S
    operator_quits_a_year: float = 0.1

    def up_s(self, rng: random.Random) -> float:
        return rng.lognormvariate(math.log(self.up_median_s), self.up_sigma)

    def down_s(self, rng: random.Random) -> float:
        return rng.lognormvariate(math.log(self.down_median_s), self.down_sigma)

    def provider_out_s(self, rng: random.Random) -> float:
        return rng.lognormvariate(math.log(self.provider_out_median_s), 1.0)


CHURNS = {
    # Rented servers: reboots for kernels, once in three weeks or so; one reboot in a hundred takes over an hour.
    "vps": Churn(21 * DAY_S, 0.7, 240, 1.2, dies_a_year=1 / 3, disk_a_year=1 / 20),
    # Half of the sessions end within two hours, 88 % within eight (ProbeLab RFM 2; Trautwein et al. 2022). How long
    # absences last is not told there: a median of three hours and many of days is assumed.
    "ipfs": Churn(2 * HOUR_S, 1.2, 3 * HOUR_S, 1.5, dies_a_year=1.0, disk_a_year=1 / 10),
}
