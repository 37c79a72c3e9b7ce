"""Care plans: what concerns, interventions and nutrition statements hold, each as one item."""

from records.clinical import fhir
from records.clinical.reader import read
from records.clinical.types import Item
from tests.pure.clinical.documents import LOINC, SNOMED, T, code, document, entry, section

REFERENCE = (
    f'<act classCode="ACT" moodCode="EVN"><templateId root="{T}22.4.122"/><code nullFlavor="NP"/></act>'
)


def items(loinc: str, *entries: str) -> list[Item]:
    return list(read(document(section(loinc, "".join(entries)))).items)


def held(statement: str, link: str = "REFR") -> str:
    return f'<entryRelationship typeCode="{link}">{statement}</entryRelationship>'


def condition(value: str, name: str, day: str = "", template: str = "22.4.4") -> str:
    time = f'<effectiveTime><low value="{day}"/></effectiveTime>' if day else ""
    return (
        f'<observation classCode="OBS" moodCode="EVN"><templateId root="{T}{template}"/>'
        f'{code("29308-4", "Diagnosis", LOINC)}<statusCode code="completed"/>{time}'
        f"{code(value, name, SNOMED, tag='value', kind='CD')}</observation>"
    )


def concern(own: str, *inner: str, day: str = "20240210") -> str:
    time = f'<effectiveTime value="{day}"/>' if day else ""
    return entry(
        f'<act classCode="ACT" moodCode="EVN">{own}<statusCode code="active"/>{time}{"".join(inner)}</act>'
    )


HEALTH_CONCERN = code("75310-3", "Health concern", LOINC)


def test_a_concern_with_several_conditions_is_one_item_for_each() -> None:
    found = items(
        "75310-3",
        concern(
            HEALTH_CONCERN,
            held(condition("36971009", "Sinusitis", "20240203")),
            held(condition("25064002", "Headache", "20240207"), "SPRT"),
            held(condition("271825005", "Breathing trouble"), "SPRT"),
            held(condition("394849002", "High priority", template="22.4.143"), "RSON"),
            held(REFERENCE),
        ),
    )
    # The act stands for the first condition, with the day since when it is a concern.
    assert [(item.kind, item.name, str(item.start)) for item in found] == [
        ("health_concerns", "Sinusitis", "2024-02-10"),
        ("health_concerns", "Headache", "2024-02-07"),
        ("health_concerns", "Breathing trouble", "2024-02-10"),
    ]
    assert len({item.path for item in found}) == 3


def test_a_concern_without_a_day_takes_that_of_its_condition() -> None:
    (found,) = items(
        "75310-3", concern(HEALTH_CONCERN, held(condition("36971009", "Sinusitis", "20240203")), day="")
    )
    assert (found.name, str(found.start)) == ("Sinusitis", "2024-02-03")


def test_a_concern_of_references_says_nothing_new() -> None:
    assert items("75310-3", concern(HEALTH_CONCERN, held(REFERENCE), held(REFERENCE))) == []


def test_a_risk_is_never_shown_as_the_condition_itself() -> None:
    risk = code("281694009", "Finding of at risk")
    first, second = items(
        "75310-3",
        concern(risk, held(condition("217082002", "Fall at home"))),
        concern(risk, held(condition("399068003", "Bed sore"))),
    )
    assert first.name == "Finding of at risk: Fall at home"
    assert second.name == "Finding of at risk: Bed sore"
    # Two risks of one day share no code that would make them one.
    assert first.codes == second.codes == ()
    assert fhir.resource_for(first)["code"] == {"text": "Finding of at risk: Fall at home"}


def deed(
    tag: str, number: str, name: str, day: str = "", mood: str = "INT", template: str = "22.4.41"
) -> str:
    time = f'<effectiveTime value="{day}"/>' if day else ""
    return (
        f'<{tag} classCode="X" moodCode="{mood}"><templateId root="{T}{template}"/>{code(number, name)}'
        f'<statusCode code="active"/>{time}</{tag}>'
    )


def test_each_statement_of_an_intervention_is_one_item() -> None:
    found = items(
        "62387-6",
        concern(
            code("362956003", "Intervention"),
            held(deed("act", "229070002", "Stretching exercises", "20240301")),
            held(deed("procedure", "182777000", "Monitoring of weight", "20240305")),
            held(deed("observation", "271649006", "Systolic pressure at home")),
            held(deed("act", "432138007", "Handoff communication", template="22.4.141")),
            held(deed("observation", "289169006", "Weight loss", mood="GOL", template="22.4.121")),
            held(condition("162864005", "Obesity"), "RSON"),
            held(REFERENCE, "GEVL"),
        ),
    )
    assert [(item.kind, item.name, str(item.start)) for item in found] == [
        ("interventions", "Stretching exercises", "2024-03-01"),
        ("interventions", "Monitoring of weight", "2024-03-05"),
        ("interventions", "Systolic pressure at home", "2024-02-10"),
    ]
    assert [fhir.resource_for(item)["resourceType"] for item in found] == ["ServiceRequest"] * 3


def test_an_intervention_that_stands_alone_is_read_as_it_is() -> None:
    (found,) = items("62387-6", entry(deed("procedure", "229070002", "Stretching exercises", "20240301")))
    assert (found.name, str(found.start)) == ("Stretching exercises", "2024-03-01")


def test_an_intervention_act_with_only_words_keeps_them() -> None:
    words = f"{code('362956003', 'Intervention')}<text>Walk the dog daily.</text>"
    (found,) = items("62387-6", concern(words))
    assert found.name == "Walk the dog daily."


def test_diets_that_hang_on_a_nutritional_status_are_items_too() -> None:
    def answer(question: str, number: str, name: str, template: str, more: str = "") -> str:
        return (
            f'<observation classCode="OBS" moodCode="EVN"><templateId root="{T}{template}"/>'
            f'{code(question, "Asked", LOINC)}<statusCode code="completed"/>'
            f'<effectiveTime value="20240120"/>{code(number, name, tag="value", kind="CD")}'
            f"{more}</observation>"
        )

    found = items(
        "61144-2",
        entry(
            answer(
                "75305-3",
                "248324001",
                "Well nourished",
                "22.4.124",
                held(answer("75303-8", "437091000124100", "Little salt", "22.4.138"), "SUBJ")
                + held(answer("75303-8", "160671006", "Three meals a day", "22.4.138"), "SUBJ")
                + held(answer("75305-3", "1", "A comment on it", "22.4.2"), "SUBJ"),
            )
        ),
    )
    assert [(item.value, str(item.start)) for item in found] == [
        ("Well nourished", "2024-01-20"),
        ("Little salt", "2024-01-20"),
        ("Three meals a day", "2024-01-20"),
    ]
