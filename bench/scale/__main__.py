"""How the federation fares with many nodes and sites, over days and years (docs/scale.md).

    ./dev bench scale years [--nodes 100] [--sites 10000] [--follow 400] [--days 365] [--churn vps|ipfs]
                            [--min 3] [--max 6] [--liars 0.0] [--unwilling 0.0] [--seed 1]
    ./dev bench scale death [--nodes 30] [--sites 100] [--seed 1]
    ./dev bench scale cost  [--members 1000] [--sites 500] [--minutes 60] [--churn vps|ipfs] [--seed 1]
    ./dev bench scale gossip [--nodes 100] [--sites 500] [--minutes 0.25] [--seed 1]
    ./dev bench scale plots

Each run prints its result as one line of JSON and adds it to the file given with --to. `plots` draws docs/scale/*.svg
from bench/scale/results.jsonl.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from bench.scale import cost, death, gossip, plots
from bench.scale.churn import CHURNS, DAY_S
from bench.scale.world import Setting, World
from protocol.release import Band

RESULTS = Path(__file__).parent / "results.jsonl"


def years(args: argparse.Namespace) -> dict[str, object]:
    setting = Setting(
        args.seed,
        args.nodes,
        min(args.follow, args.sites),
        CHURNS[args.churn],
        one_in=max(1, args.sites // args.follow),
        band=Band(args.min, args.max),
        liars=args.liars,
        unwilling=args.unwilling,
    )
    world = World(setting)
    world.run(args.days * DAY_S)
    return dict(world.tally.result(world.now_s))


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="./dev bench scale", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", choices=["years", "death", "cost", "gossip", "plots"])
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--members", type=int, default=1000)
    parser.add_argument("--sites", type=int, default=10_000)
    parser.add_argument("--follow", type=int, default=400)
    parser.add_argument("--days", type=float, default=365.0)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--churn", choices=list(CHURNS), default="vps")
    parser.add_argument("--min", type=int, default=3)
    parser.add_argument("--max", type=int, default=6)
    parser.add_argument("--liars", type=float, default=0.0)
    parser.add_argument("--unwilling", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--to", type=Path, help="a file to which the line of JSON is added")
    args = parser.parse_args()
    if args.run == "plots":
        plots.draw(RESULTS)
        return
    began_s = time.monotonic()
    found = {"years": years, "death": death.run, "cost": cost.run, "gossip": gossip.run}[args.run](args)
    asked = {key: value for key, value in vars(args).items() if key != "to"}
    line = json.dumps({**asked, **found, "wall_s": round(time.monotonic() - began_s, 1)})
    print(line)
    if args.to:
        with args.to.open("a") as file:
            file.write(line + "\n")


if __name__ == "__main__":
    main()
