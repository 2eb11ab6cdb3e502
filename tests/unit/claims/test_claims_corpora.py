"""What the studies are made of."""

from benchmarks.claims.corpora import R8_TEST, R8_TRAIN, read_tab, short_names, write_r8


def write_tab(path, counts):
    rows = [
        f"{label}\t{label} text {i}\twith a tab" for label, n in counts.items() for i in range(n)
    ]
    path.write_text("\n".join(["Category\tText", "d\tstring", "class\t", "", *rows]) + "\n")


def test_reuters_is_cut_down_by_class(tmp_path):
    write_tab(tmp_path / "reuters-r8-train.tab", {"earn": 200, "grain": 41})
    write_tab(tmp_path / "reuters-r8-test.tab", {"earn": 300, "grain": 10})
    assert read_tab(tmp_path / "reuters-r8-test.tab")[0] == ("earn", "earn text 0\twith a tab")
    write_r8(tmp_path, tmp_path)
    train, validation, test = (
        (tmp_path / f"{name}.csv").read_text().splitlines()[1:]
        for name in ("train", "validation", "test")
    )
    assert len(train) == R8_TRAIN + 30
    assert len(validation) == 15 + 11
    assert len(test) == R8_TEST + 10
    texts = [{row.split(",", 1)[1] for row in rows} for rows in (train, validation)]
    assert not texts[0] & texts[1]


def test_tags_lose_their_facet_only_where_that_is_clear():
    assert short_names({"use::editing", "use::text", "works-with::text", "plain"}) == {
        "use::editing": "editing",
        "use::text": "use::text",
        "works-with::text": "works-with::text",
        "plain": "plain",
    }
