def clashing_constraints(problem, constraints): return ["todo"]
