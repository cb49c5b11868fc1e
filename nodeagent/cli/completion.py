"""Shell completion: small scripts that ask ``nodeagent __complete``, which knows the tables."""

from collections.abc import Sequence
from typing import Final

from nodeagent.cli import app
from nodeagent.cli.call import Call, Row
from nodeagent.cli.grammar import Flag, UsageError, Verb, Words
from nodeagent.cli.output import put

FILES: Final = ":files"  # a line that tells the shell to complete file names itself

_BASH: Final = r"""# bash completion of nodeagent; made by: nodeagent completion bash
_nodeagent() {
    local cur words cword line
    # ':' and '=' belong to names here (image:tag, --flag=value), so we look at the line itself.
    if declare -F _get_comp_words_by_ref >/dev/null; then
        _get_comp_words_by_ref -n := cur words cword
    else
        cur=${COMP_WORDS[COMP_CWORD]} words=("${COMP_WORDS[@]}") cword=$COMP_CWORD
    fi
    COMPREPLY=()
    while IFS= read -r line; do
        if [ "$line" = :files ]; then
            compopt -o default 2>/dev/null
        else
            COMPREPLY+=("$line")
        fi
    done < <("${words[0]}" __complete "${words[@]:1:cword}" 2>/dev/null)
    declare -F __ltrim_colon_completions >/dev/null && __ltrim_colon_completions "$cur"
    return 0
}
complete -F _nodeagent nodeagent
"""

_ZSH: Final = r"""#compdef nodeagent
# zsh completion of nodeagent; made by: nodeagent completion zsh
_nodeagent() {
    local -a found
    local line files=
    for line in "${(@f)$("${words[1]}" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
        if [[ $line == :files ]]; then files=yes; elif [[ -n $line ]]; then found+=("$line"); fi
    done
    (( $#found )) && compadd -a found
    [[ -n $files ]] && _files
    return 0
}
if [[ $funcstack[1] == _nodeagent ]]; then _nodeagent "$@"; else compdef _nodeagent nodeagent; fi
"""
SCRIPTS: Final = {"bash": _BASH, "zsh": _ZSH}


def print_candidates(words: Sequence[str], host: str) -> int:
    """Print what the last word may become, a line each; silent about any failure."""
    *before, begun = words or [""]
    put("".join(f"{word}\n" for word in candidates(before, begun, host)))
    return 0


def candidates(before: Sequence[str], begun: str, host: str) -> list[str]:
    """Say what a word that is begun may become, after the words before it."""
    before = list(before)
    while before and before[0].startswith("-"):
        if before[0] in {"--host", "-H"}:
            host, before = (before[1] if len(before) > 1 else host), before[2:]
        else:
            before = before[2 if before[0] in app.TLS_NAMES else 1 :]
    if not before:
        return _fitting(begun, [*app.TOP, *app.COMMANDS, "serve", *_names(app.GLOBAL_FLAGS)])
    if before[0] in app.COMMANDS and len(before) == 1:
        verbs = _fitting(begun, list(app.COMMANDS[before[0]]))
        own = app.load(*app.TOP[before[0]]) if before[0] in app.TOP else None
        return [*verbs, *(_of_verb(own, [], begun, host) if own else [])]
    found, rest = app.find(before)
    if found is None:
        return []
    return _of_verb(found.verb, rest, begun, host)


def _of_verb(verb: Verb, rest: Sequence[str], begun: str, host: str) -> list[str]:
    flags = app.flags_of(verb)
    name, equals, value = begun.partition("=")
    by_name = {f"--{flag.name}": flag for flag in flags}
    by_name |= {f"-{flag.short}": flag for flag in flags if flag.short}
    if equals and name in by_name:
        return [word if word == FILES else f"{name}={word}"
                for word in _values(by_name[name], value, host)]  # fmt: skip
    pending = by_name.get(rest[-1]) if rest else None
    if pending is not None and pending.kind != "bool":
        return _values(pending, begun, host)
    words = _words_so_far(verb, rest)
    if verb.options_first and words:
        return [FILES] if verb.words.completes == "image" else []
    if begun.startswith("-"):
        return _fitting(begun, _names(flags))
    return _objects(verb, len(words), begun, host)


def _words_so_far(verb: Verb, rest: Sequence[str]) -> list[str]:
    from nodeagent.cli.grammar import parse

    try:
        return parse(app.flags_of(verb), rest, options_first=verb.options_first)[1]
    except UsageError:
        return []


def _names(flags: Sequence[Flag]) -> list[str]:
    return [f"--{flag.name}" for flag in flags]


def _fitting(begun: str, words: Sequence[str]) -> list[str]:
    return sorted({word for word in words if word.startswith(begun)})


def _values(flag: Flag, begun: str, host: str) -> list[str]:
    if flag.completes == "file":
        return [FILES]
    return _fitting(begun, [*flag.choices, *(object_names(flag.completes, host))])


def _objects(verb: Verb, index: int, begun: str, host: str) -> list[str]:
    """Names for the word at this place; the kinds of a pair stand side by side."""
    if verb.words.most is not None and index >= verb.words.most:
        return []
    kinds = verb.words.completes.split()
    kind = kinds[min(index, len(kinds) - 1)] if kinds else ""
    if kind == "file":
        return [FILES]
    if kind == "shell":
        return _fitting(begun, list(SCRIPTS))
    return _fitting(begun, object_names(kind, host))


def object_names(kind: str, host: str) -> list[str]:
    """Ask the agent what there is; no agent, no names."""
    if not kind:
        return []
    from nodeagent.rpc.errors import RpcError
    from nodeagent.rpc.sync_client import open_sync_client

    kinds = ("container", "image", "network", "volume") if kind == "any" else (kind,)
    names: list[str] = []
    try:
        with open_sync_client(host) as client:
            for noun in kinds:
                params = {"all": True}
                rows = client.call_as(list[dict[str, object]], f"{noun}.ls", params)
                names += [_row_name(noun, row) for row in rows]
    except (RpcError, ValueError):
        return []
    return [name for name in names if name]


def _row_name(noun: str, row: Row) -> str:
    if noun == "container":
        return str(row["Names"])
    if noun != "image":
        return str(row["Name"])
    if row["Repository"] == "<none>":
        return ""
    return f"{row['Repository']}:{row['Tag']}"


def _completion(call: Call) -> int:
    script = SCRIPTS.get(call.words[0])
    if script is None:
        raise UsageError(f"no completion for {call.words[0]!r}; there is bash and zsh")
    put(script)
    return 0


VERBS: Final = (
    Verb(
        name="completion",
        help="Print the completion script of a shell",
        run=_completion,
        words=Words(usage="bash|zsh", least=1, most=1, completes="shell"),
        examples=(
            "source <(nodeagent completion bash)",
            "nodeagent completion zsh > /usr/share/zsh/vendor-completions/_nodeagent",
        ),
    ),
)
