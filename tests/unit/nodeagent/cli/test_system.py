from nodeagent.cli.system import event_line, shape_df


def test_df_of_nothing_has_no_share():
    assert shape_df({"Size": 0, "Reclaimable": 0})["Reclaimable"] == "0B"


def test_event_without_attributes():
    event = {
        "time_ns": 0,
        "type": "agent",
        "action": "start",
        "id": "x",
        "name": "",
        "attributes": {},
    }
    assert event_line(event) == "1970-01-01T00:00:00.000000000Z agent start x\n"
