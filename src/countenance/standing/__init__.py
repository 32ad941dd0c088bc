"""Who is behind an account: lists, names, ownership, red flags, cases; and the standing that follows, on any day.

Knows parties, listed entries and dated statements. Does not know accounts' keys, calls or faces: `operations` brings
the two together, and `policy` sees nothing of this but one word, the standing.

`listed` is what every list's entries become; `lists/` reads the publishers' formats; `ownership/` keeps dated
statements and applies the three legal tests; `matching/` finds and scores names. The matcher itself (nomenklatura) is
the extra `countenance[standing]`; without it nobody but the owner can be cleared.
"""
