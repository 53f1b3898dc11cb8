"""Files made to hurt: small ones that ask for much. The contract of tests/fuzz judges them, too: one sentence
or a result, in bounds."""
