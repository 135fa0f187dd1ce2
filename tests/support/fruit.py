"""A small test collection about fruit, as the files of a BEIR folder."""

from __future__ import annotations

CORPUS = [
    {"_id": "d1", "title": "Apples", "text": "a ripe red apple"},
    {"_id": "d2", "title": "", "text": "the red sea at night"},
    {"_id": "d3", "title": None, "text": "a green pear"},
    {"_id": "d4", "text": "red red wine"},
]
QUERIES = [{"_id": "q1", "text": "red fruit"}, {"_id": "q2", "text": "night sea"}, {"_id": "q3", "text": "nobody judged this"}]
QRELS = "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td3\t1\nq1\td4\t0\nq2\td2\t1\n"
