"""Filters, methods, tests and comparisons of chat templates have the results that they have in Jinja, or are refused."""

from __future__ import annotations

import pytest

from chat_templates import REFUSAL, rendered, rendered_by_jinja
from podium.errors import UnsupportedModel

ROLE = '{{ messages | selectattr("role", "eq", "%s") | map(attribute="content") | first%s }}'
QWEN3 = (
    "<|im_start|>system\nJudge.<|im_end|>\n<Instruct>: "
    + ROLE % ("system", ' | default("Given a query", true)')
    + "\n<Query>: "
    + ROLE % ("query", "")
    + "\n<Document>: "
    + ROLE % ("document", " | trim")
    + "<|im_end|>\n<think>\n\n</think>\n\n\n"
)
TEMPLATES = {
    "selectattr": QWEN3,
    "first in parentheses": '{{ (messages | selectattr("role", "eq", "query") | first).content }}/{{ messages[-1].content }}',
    "nested default": "{{ instruction | default(instruct | default('none', true), true) }}{{ messages[1]['content'] }}",
    "path of an attribute": "{{ [{'a': messages[1]}] | map(attribute='a.content') | join }}"
    "{{ [{'a': messages}] | map(attribute='a.1.role') | first }}",
    "strip": "{{ ' a ' + messages[1].content.strip() + ' b ' }}|{{ messages[2].content.rstrip() }}",
    "strip of a start": "{{ (' ' + messages[0].content) | trim }}|{{ messages[1].content }}",
    "strip of both ends": "{{ (messages[0].content + '  ') | trim }}|{{ ('  ' ~ messages[2].content).lstrip() }}",
    "set and list": "{%- set q = messages | selectattr('role', 'eq', 'query') | map(attribute='content') | list -%}"
    "{{ q[0] if q else '' }}",
    "tests": "{{ messages[0].content is string }}{{ nothing is defined }}{{ messages is iterable }}{{ none is none }}",
    "join and rejectattr": "{{ messages | rejectattr('role', 'eq', 'system') | map(attribute='content') | join(' / ') }}",
    "slices and length": "{% for m in messages[1:] %}{{ m.content }}{% endfor %}{{ messages | length }}",
    "comparisons": "{{ 'query' in ['query', 'a'] }}{{ messages[0].role == 'system' and messages | length > 2 }}{{ 1 < 2 < 2 }}",
    "get": "{{ messages[0].get('content') }}{{ messages[0].get('name', '-') }}",
    "replace": "{{ 'a-b-c' | replace('-', '+') }}{{ messages[1].content }}",
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_template_has_the_text_that_jinja_renders(name):
    assert rendered(TEMPLATES[name]) == rendered_by_jinja(TEMPLATES[name])


REFUSED = {
    "format": "{{ '%1000000000d' | format(1) }}",
    "centered": "{{ 'a' | center(10000000000) }}",
    "nested list": "{% set ns = namespace(a=[1]) %}" + "{% set ns.a = [ns.a, ns.a] %}" * 60 + "{{ ns.a == ns.a }}",
    "replaced": "{{ ('a' | replace('', 'a' ~ 'aaaaaaaaaa')) }}" + "{% set x = 'aaaaaaaaaaaaaaaaaaaa' %}" * 3
    + "{% set ns = namespace(a='aaaaaaaaaa') %}" + "{% set ns.a = ns.a | replace('a', ns.a) %}" * 8,
    "text that decides": "{% if messages[1].content == 'a' %}b{% endif %}",
    "length of a text": "{{ messages[1].content | length }}",
    "upper case": "{{ messages[1].content | upper }}",
    "replaced in a text": "{{ messages[1].content | replace('a', 'b') }}",
    "start of a text": "{{ messages[1].content.startswith('a') }}",
    "method of an object": "{{ 'a' if messages[0].items else 'b' }}",
    "method of a number": "{{ 5.strip() }}{{ (5).strip() }}",
    "get of a list": "{{ messages.get(0).role }}",
    "namespace of a list": "{% set ns = namespace([['a', 1]]) %}",
    "arguments of podium's function": "{{ ' a' | trim(starts=false) }}",
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_template_that_is_not_a_prompt_is_refused(name):
    with pytest.raises(UnsupportedModel, match=REFUSAL):
        rendered(REFUSED[name])
