"""Loop variables, namespaces and texts of chat templates, and the limits of their sizes."""

from __future__ import annotations

import pytest

from chat_templates import REFUSAL, rendered, rendered_by_jinja
from podium.errors import UnsupportedModel

TEMPLATES = {
    "fields of a loop": "{% for m in messages %}"
    "{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}"
    "{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }}{{ loop.depth0 }}{{ loop.previtem.role if loop.previtem }}"
    "{{ loop.nextitem.content if loop.nextitem is defined }}{{ loop['index'] }}{{ loop is mapping }}{{ loop is iterable }}"
    "{{ loop is sequence }}{{ loop is defined }}{% endfor %}",
    "fields of an inner loop": "{% for m in messages %}{% for n in messages %}{{ loop.depth }}{{ loop.revindex }}{% endfor %}"
    "{{ loop.revindex }}{% endfor %}",
    "namespace of an object": "{% set ns = namespace({'a': 'x', 'b': 'y'}, b='z') %}"
    "{{ ns.a }}{{ ns['b'] }}{{ ns.c is defined }}",
    "namespace": "{% set ns = namespace(q='', n=0) %}{% for m in messages %}{% if m.role == 'query' %}"
    "{% set ns.q = m.content %}{% endif %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.q }}{{ ns.n }}",
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_template_has_the_text_that_jinja_renders(name):
    assert rendered(TEMPLATES[name]) == rendered_by_jinja(TEMPLATES[name])


REFUSED = {
    "doubled text": "{% set ns = namespace(a='aaaaaaaaaa') %}" + "{% set ns.a = ns.a + ns.a %}" * 40,
    "doubled list": "{% set ns = namespace(a=[1, 2]) %}" + "{% set ns.a = ns.a + ns.a %}" * 40,
    "doubled slots": "{% set ns = namespace(a=messages[0].content) %}" + "{% set ns.a = ns.a + '-' + ns.a %}" * 40,
    "undefined": "{{ nothing.content }}",
    "method of a loop": "{% for m in messages %}{{ loop.cycle('a', 'b') }}{% endfor %}",
    "method of a loop as a condition": "{% for m in messages %}{% if loop.changed %}a{% endif %}{% endfor %}",
    "length of a loop": "{% for m in messages %}{{ loop | length }}{% endfor %}",
    "loop as text": "{% for m in messages %}{{ loop }}{% endfor %}",
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_template_that_is_not_a_prompt_is_refused(name):
    with pytest.raises(UnsupportedModel, match=REFUSAL):
        rendered(REFUSED[name])
