"""`accelerate launch -m valuecurve.scoring …`: `valuecurve score` in many processes."""

import typer

from valuecurve.commands.score import score

if __name__ == "__main__":
    typer.run(score)
