"""Prints N distinct lines of varied length, always the same ones. The first eight characters serve as the key."""

import random
import sys

dice = random.Random(7)
for n in range(int(sys.argv[1])):
    print(f"{n:08d} " + "".join(dice.choice("abcdefghij klmnop") for _ in range(dice.randint(10, 150))))
