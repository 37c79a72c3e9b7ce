"""Filters of the record pages."""

from django import template

from records import unreadable, wording

register = template.Library()
register.filter("in_words", wording.date_in_words)
register.filter("dates_in_words", wording.dates_in_words)
register.filter("unit_in_words", wording.unit_in_words)
register.filter("why_unreadable", unreadable.why_unreadable)


@register.simple_tag
def span(start: str | None, end: str | None) -> str:
    """From one date to another, each in its own precision."""
    return wording.span_in_words(start, end)
