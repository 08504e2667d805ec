"""`python -m benchmarks` is `python -m benchmarks.gradients`."""

from benchmarks.gradients import main

if __name__ == "__main__":
    main()
