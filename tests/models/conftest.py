"""Its presence lets the tests here and below import ``small``."""
