"""Every public declaration of the shared libraries says what it is: units, limits with defaults, errors."""

import re

from documents import swift, text

PUBLIC = re.compile(r"^\s*(?:@\w+(?:\([^)]*\))?\s+)*(?:(?:final|static|override|nonisolated|mutating|indirect|convenience|required)\s+)*(?:public|open) (?!import\b|extension\b)")

# What a known protocol asks for is described there.
REQUIREMENTS = "|".join([
    r"var description: String \{", r"static func ==", r"func hash\(into", r"func encode\(to", r"init\(from",
    r"init\((?:string|integer|float|boolean|nil|array|dictionary)Literal",
    # ChannelHandler
    r"typealias (?:In|Out)bound(?:In|Out)\b", r"func (?:handlerAdded|handlerRemoved|channelActive|channelInactive|channelRead|channelReadComplete|errorCaught)\(context",
    # AsyncSequence, SerialExecutor, result builders
    r"func makeAsyncIterator", r"struct AsyncIterator\b", r"func next\(\) async", r"var unownedExecutor", r"static func build(?:Block|Expression)",
    # swift-metrics, swift-distributed-tracing
    r"func (?:make|destroy)(?:FloatingPoint)?(?:Counter|Meter|Recorder|Timer)\(",
    r"func (?:startSpan|extract|inject|recordError|end)<", r"func (?:setStatus|addEvent|addLink)\(_ \w+: Span", r"var (?:isRecording|operationName|attributes): (?:Bool|String|SpanAttributes)",
    # The defaults of CoreWorker
    r"func (?:start|stopServing|handOver|reconfigure|drain|end|sessionEstablished)\(.*on loop: isolated WorkerLoop\) async", r"func (?:registerTriggerTypes|registerFunctions)\(on link: WorkerLink\) \{\}",
    r"func (?:startServing|sessionLost)\(\) \{\}", r'var status: String \{ "" \}',
])
EXEMPT = re.compile(rf"\b(?:{REQUIREMENTS})")


def test_every_public_declaration_of_the_shared_libraries_has_a_docstring():
    bare = []
    for path in swift("Sources/Shared/"):
        lines = text(path).splitlines()
        for number, line in enumerate(lines):
            if not PUBLIC.match(line) or "override " in line or EXEMPT.search(line):
                continue
            above = number - 1
            while above >= 0 and lines[above].strip().startswith("@"):
                above -= 1
            if not lines[above].strip().startswith("///"):
                bare.append(f"{path}:{number + 1} {line.strip()[:120]}")
    assert not bare, "no docstring:\n" + "\n".join(bare)
