"""Chat templates as prompts: the same text as Jinja renders, and no code, loop or text without limit."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from podium.errors import UnsupportedModel
from podium.local.decoders.prompts import Slot
from podium.local.decoders.templates import render

ROLES = {"system": "instruction", "query": "query", "document": "document"}
TEXTS = {"instruction": " be brief ", "query": "what {{ is }} it?", "document": "\n it is {% x %} \t"}
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
    "loop": "{% for m in messages %}{{ loop.index0 }}: {{ m.content }}{% if not loop.last %}, {% endif %}{% endfor %}",
    "loop with break": "{% for m in messages %}{% if m.role == 'document' %}{% break %}{% endif %}{{ m.content }};{% endfor %}",
    "loop with continue": "{% for m in messages %}{% if m.role != 'query' %}{% continue %}{% endif %}{{ m.role }};{% endfor %}",
    "text before a continue": "{% for m in messages %}{% if m.role=='system' %}<Instruct>: {{ m.content }}\n{% continue %}"
    "{% endif %}<{{ m.role }}>: {{ m.content }}\n{% endfor %}answer:",
    "text before a break": "{% for m in messages %}"
    "{{ m.role }}{% if m.role == 'query' %}: {{ m.content }}{% break %}{% endif %}"
    ";{% endfor %}.",
    "continue in an inner loop": "{% for m in messages %}"
    "<{% for n in messages %}{{ loop.index }}{% if loop.first %}-{% continue %}"
    "{% endif %}{{ n.content }}{% endfor %}>{% endfor %}",
    "fields of a loop": "{% for m in messages %}"
    "{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}"
    "{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }}{{ loop.depth0 }}{{ loop.previtem.role if loop.previtem }}"
    "{{ loop.nextitem.content if loop.nextitem is defined }}{{ loop['index'] }}{{ loop is mapping }}{{ loop is iterable }}"
    "{{ loop is sequence }}{{ loop is defined }}{% endfor %}",
    "fields of an inner loop": "{% for m in messages %}{% for n in messages %}{{ loop.depth }}{{ loop.revindex }}{% endfor %}"
    "{{ loop.revindex }}{% endfor %}",
    "scope of else": "{% for m in [] %}{% else %}{% set x = 'a' %}{{ x }}{% endfor %}{{ x is defined }}{{ x }}",
    "scope of a block": "{% set x = 'a' %}{% set text %}{% set x = 'b' %}{% set y = x %}{{ x }}{% endset %}"
    "{{ x }}{{ text }}{{ y is defined }}",
    "block in a loop": "{% for m in messages %}"
    "{% set text %}<{{ loop.index }}{{ m.content }}>{% endset %}{{ text }}{% endfor %}",
    "namespace of an object": "{% set ns = namespace({'a': 'x', 'b': 'y'}, b='z') %}"
    "{{ ns.a }}{{ ns['b'] }}{{ ns.c is defined }}",
    "path of an attribute": "{{ [{'a': messages[1]}] | map(attribute='a.content') | join }}"
    "{{ [{'a': messages}] | map(attribute='a.1.role') | first }}",
    "trimmed blocks": "  {% if tools %}\n  {% else %}\n  {%- for m in messages -%}\n  <{{- m.content -}}>\n{%- endfor %}\n"
    "  {% endif %}\n\n",
    "strip": "{{ ' a ' + messages[1].content.strip() + ' b ' }}|{{ messages[2].content.rstrip() }}",
    "strip of a start": "{{ (' ' + messages[0].content) | trim }}|{{ messages[1].content }}",
    "strip of both ends": "{{ (messages[0].content + '  ') | trim }}|{{ ('  ' ~ messages[2].content).lstrip() }}",
    "set and list": "{%- set q = messages | selectattr('role', 'eq', 'query') | map(attribute='content') | list -%}"
    "{{ q[0] if q else '' }}",
    "namespace": "{% set ns = namespace(q='', n=0) %}{% for m in messages %}{% if m.role == 'query' %}"
    "{% set ns.q = m.content %}{% endif %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.q }}{{ ns.n }}",
    "scope of a loop": "{% set x = 'a' %}{% for m in messages %}{% set x = m.content %}{% endfor %}{{ x }}",
    "tests": "{{ messages[0].content is string }}{{ nothing is defined }}{{ messages is iterable }}{{ none is none }}",
    "conditions": "{% if tools %}tools{% elif documents %}documents{% else %}{{ messages[1].content }}{% endif %}",
    "generation prompt": "{{ messages[1].content }}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    "join and rejectattr": "{{ messages | rejectattr('role', 'eq', 'system') | map(attribute='content') | join(' / ') }}",
    "slices and length": "{% for m in messages[1:] %}{{ m.content }}{% endfor %}{{ messages | length }}",
    "comparisons": "{{ 'query' in ['query', 'a'] }}{{ messages[0].role == 'system' and messages | length > 2 }}{{ 1 < 2 < 2 }}",
    "tokens": "{{ bos_token }}{{ messages[1].content }}{{ eos_token }}",
    "block": "{% set text %}<{{ messages[1].content }}>{% endset %}{{ text }}",
    "get": "{{ messages[0].get('content') }}{{ messages[0].get('name', '-') }}",
    "replace": "{{ 'a-b-c' | replace('-', '+') }}{{ messages[1].content }}",
    "comment": "{# nothing #}{{ messages[1].content }}\n",
}


def filled(parts):
    return "".join(part.stripped(TEXTS[part.name]) if isinstance(part, Slot) else part for part in parts)


def rendered_by_jinja(template, *, is_structured=False):
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    messages = []
    for role, name in ROLES.items():
        content = [{"type": "text", "text": TEXTS[name]}] if is_structured else TEXTS[name]
        messages.append({"role": role, "content": content})
    return environment.from_string(template).render(messages=messages, **VARIABLES)


VARIABLES = {"add_generation_prompt": True, "tools": None, "documents": None, "bos_token": "<s>", "eos_token": "</s>"}


@pytest.mark.parametrize("name", TEMPLATES)
def test_template_has_the_text_that_jinja_renders(name):
    parts = render(TEMPLATES[name], ROLES, is_structured=False, variables=VARIABLES)
    assert filled(parts) == rendered_by_jinja(TEMPLATES[name])


def test_missing_package_is_an_error_with_the_command_that_installs_it():
    script = (
        "import sys; sys.modules['jinja2'] = None\n"
        "from podium.local.decoders.templates import render\n"
        "try: render('', {}, is_structured=False, variables={})\n"
        "except ImportError as error: print(type(error).__name__, error)"
    )
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    assert "MissingPackage this needs jinja2, which is not installed: pip install 'jinja2>=3.1'" in process.stdout


def test_content_may_be_a_list():
    template = "{% for m in messages %}{{ m.role + ': ' + m.content[0].text | trim }}\n{% endfor %}"
    parts = render(template, ROLES, is_structured=True, variables=VARIABLES)
    assert filled(parts) == rendered_by_jinja(template, is_structured=True)


HOSTILE = {
    "long text": "{{ 'a' * 10000000000 }}",
    "power": "{{ 9 ** 9 ** 9 }}",
    "long number": "{{ " + "9" * 5000 + " }}",
    "format": "{{ '%1000000000d' | format(1) }}",
    "modulo": "{{ '%1000000000d' % 1 }}",
    "centered": "{{ 'a' | center(10000000000) }}",
    "range": "{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}",
    "nested loops": "".join(f"{{% for m{i} in messages %}}" for i in range(12)) + "x" + "{% endfor %}" * 12,
    "doubled text": "{% set ns = namespace(a='aaaaaaaaaa') %}" + "{% set ns.a = ns.a + ns.a %}" * 40,
    "doubled list": "{% set ns = namespace(a=[1, 2]) %}" + "{% set ns.a = ns.a + ns.a %}" * 40,
    "nested list": "{% set ns = namespace(a=[1]) %}" + "{% set ns.a = [ns.a, ns.a] %}" * 60 + "{{ ns.a == ns.a }}",
    "doubled slots": "{% set ns = namespace(a=messages[0].content) %}" + "{% set ns.a = ns.a + '-' + ns.a %}" * 40,
    "replaced": "{{ ('a' | replace('', 'a' ~ 'aaaaaaaaaa')) }}" + "{% set x = 'aaaaaaaaaaaaaaaaaaaa' %}" * 3
    + "{% set ns = namespace(a='aaaaaaaaaa') %}" + "{% set ns.a = ns.a | replace('a', ns.a) %}" * 8,
    "deep": "{{ " + "(" * 20_000 + "1" + ")" * 20_000 + " }}",
    "long template": "a" * 200_000,
    "class": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "globals": "{{ cycler.__init__.__globals__ }}",
    "self": "{{ self._TemplateReference__context }}",
    "include": "{% include '/etc/passwd' %}",
    "import": "{% import 'os' as os %}",
    "extends": "{% extends 'base' %}",
    "macro": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "call": "{{ messages.append(1) }}",
    "arguments": "{{ messages[0].get(*messages) }}",
    "syntax": "{% for %}",
    "exception": "{{ raise_exception('only user and assistant') }}",
    "text that decides": "{% if messages[1].content == 'a' %}b{% endif %}",
    "length of a text": "{{ messages[1].content | length }}",
    "upper case": "{{ messages[1].content | upper }}",
    "replaced in a text": "{{ messages[1].content | replace('a', 'b') }}",
    "start of a text": "{{ messages[1].content.startswith('a') }}",
    "undefined": "{{ nothing.content }}",
    "method of a loop": "{% for m in messages %}{{ loop.cycle('a', 'b') }}{% endfor %}",
    "method of a loop as a condition": "{% for m in messages %}{% if loop.changed %}a{% endif %}{% endfor %}",
    "length of a loop": "{% for m in messages %}{{ loop | length }}{% endfor %}",
    "loop as text": "{% for m in messages %}{{ loop }}{% endfor %}",
    "continue in a block": "{% for m in messages %}{% set x %}a{% continue %}{% endset %}{% endfor %}",
    "continue without a loop": "a{% continue %}",
    "method of an object": "{{ 'a' if messages[0].items else 'b' }}",
    "method of a number": "{{ 5.strip() }}{{ (5).strip() }}",
    "get of a list": "{{ messages.get(0).role }}",
    "namespace of a list": "{% set ns = namespace([['a', 1]]) %}",
    "arguments of podium's function": "{{ ' a' | trim(starts=false) }}",
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_template_that_is_not_a_prompt_is_refused(name):
    with pytest.raises(UnsupportedModel, match=r"its chat template .+; use the model's original repository"):
        render(HOSTILE[name], ROLES, is_structured=False, variables=VARIABLES)


def test_no_sequence_of_constructs_takes_long_or_fails_in_another_way():
    """Every template ends with a prompt or an error, whatever its statements do to a text and a list."""
    statements = [
        "{% set ns.a = ns.a + ns.a %}", "{% set ns.a = ns.a ~ messages[1].content %}", "{% set ns.b = ns.b + ns.b %}",
        "{% set ns.b = [ns.b, ns.b] %}", "{% for x in ns.b %}{% set ns.a = ns.a + 'x' %}{% endfor %}", "{{ ns.a }}",
        "{{ ns.b | length }}", "{% set ns.a = ns.a | trim | replace('a', 'bb') %}", "{% for m in messages %}", "{% endfor %}",
        "{% if ns.b == ns.b %}{% endif %}", "{{ ns.b | join(ns.a) }}", "{% set ns.a = (ns.b | join(ns.a)) %}",
    ]  # fmt: skip
    draw = random.Random(0)
    results = {"prompt": 0, "refused": 0}
    for _ in range(300):
        template = "{% set ns = namespace(a='a', b=[1]) %}" + "".join(draw.choices(statements, k=draw.randint(1, 60)))
        try:
            render(template, ROLES, is_structured=False, variables=VARIABLES)
            results["prompt"] += 1
        except UnsupportedModel:
            results["refused"] += 1
    assert min(results.values()) > 10


def test_random_templates_have_the_text_that_jinja_renders():
    """Loops, conditions, scopes and blocks in any order and depth: the text is the same, or the template is refused."""
    statements = [
        "{{ x }}", "{% set x = loop.index %}", "{% set x = 'b' %}", "{% set ns.a = ns.a ~ 'n' %}", "{{ ns.a }}", "text;",
        "{{ messages[1].content }}", "{% set x %}<{{ x }}{% set y = 'y' %}>{% endset %}", "{{ y is defined }}",
        "{% if loop is defined and loop.first %}{% continue %}{% endif %}", "{% if x == 'b' %}{% break %}{% endif %}",
        "{{ loop.revindex if loop is defined }}", "{{ loop.previtem.role if loop is defined and loop.previtem is defined }}",
    ]  # fmt: skip
    blocks = [
        ("{% for m in messages %}", "{% endfor %}"), ("{% for m in messages[5:] %}a{% else %}", "{% endfor %}"),
        ("{% if x == 'b' %}", "{% else %}-{% endif %}"), ("{% set y %}", "{% endset %}"),
    ]  # fmt: skip
    draw = random.Random(0)

    def body(depth):
        parts = draw.choices(statements, k=draw.randint(1, 4))
        if depth:
            start, end = draw.choice(blocks)
            parts.insert(draw.randrange(len(parts) + 1), start + body(depth - 1) + end)
        return "".join(parts)

    rendered_count = 0
    for _ in range(1000):
        template = (
            "{% set ns = namespace(a='') %}{% set x = 'a' %}{% for m in messages %}" + body(draw.randint(0, 3)) + "{% endfor %}"
        )
        try:
            parts = render(template, ROLES, is_structured=False, variables=VARIABLES)
        except UnsupportedModel:
            continue
        rendered_count += 1
        assert filled(parts) == rendered_by_jinja(template), template
    assert rendered_count > 500
