import IIIProtocol
import NIOCore
import Testing

@testable import IIIEngine

@Suite struct ChannelPipeTests {
    private func accept(_ pipe: inout ChannelPipe, _ text: String, readerKeepsUp: Bool = true) -> ChannelPipe.Acceptance {
        Array(text.utf8).withUnsafeBytes { pipe.accept($0, isText: true, readerKeepsUp: readerKeepsUp) }
    }

    private func take(_ pipe: inout ChannelPipe, _ end: ChannelRef.Direction) -> Bool {
        end == .read ? pipe.takeReader() : pipe.takeWriter()
    }

    private func next(_ pipe: inout ChannelPipe) -> String? { pipe.takeNext().map { String(buffer: $0.bytes) } }

    @Test func eachEndIsTakenOnce() {
        var pipe = ChannelPipe()
        #expect(take(&pipe, .write) && take(&pipe, .read))
        #expect(!take(&pipe, .write) && !take(&pipe, .read))
        pipe.writerEnded(.complete)
        #expect(!take(&pipe, .write))
        pipe.readerEnded()
        #expect(!take(&pipe, .read))
        #expect(pipe.reader == .gone && pipe.writer == .gone)
    }

    @Test func nobodyWritesToAReaderThatIsGone() {
        var pipe = ChannelPipe()
        #expect(take(&pipe, .read))
        pipe.readerEnded()
        #expect(!take(&pipe, .write))
        #expect(accept(&pipe, "x") == .discarded)
    }

    @Test func messagesWaitUntilTheReaderIsThereAndKeepTheirOrder() {
        var pipe = ChannelPipe()
        _ = pipe.takeWriter()
        #expect(accept(&pipe, "a") == .kept)
        #expect(next(&pipe) == nil)
        _ = pipe.takeReader()
        // What came first is still here: nothing may overtake it.
        #expect(accept(&pipe, "b") == .kept)
        #expect(next(&pipe) == "a")
        #expect(next(&pipe) == "b")
        #expect(pipe.waitingBytes == 0)
        #expect(accept(&pipe, "c") == .passOn)
        #expect(accept(&pipe, "d", readerKeepsUp: false) == .kept)
    }

    @Test func fullnessCountsMessagesAndBytes() {
        var few = ChannelPipe(maximumMessages: 2, maximumBytes: 1000)
        _ = few.takeWriter()
        _ = accept(&few, "")
        #expect(!few.isFull)
        _ = accept(&few, "")
        #expect(few.isFull)
        var small = ChannelPipe(maximumMessages: 100, maximumBytes: 3)
        _ = small.takeWriter()
        _ = accept(&small, "abcd")
        #expect(small.isFull)
        _ = small.takeReader()
        _ = small.takeNext()
        #expect(!small.isFull)
    }

    @Test func theEndIsDeliveredBehindTheData() {
        var pipe = ChannelPipe()
        _ = pipe.takeWriter()
        _ = accept(&pipe, "last")
        pipe.writerEnded(.broken)
        #expect(!pipe.isDelivered && pipe.reader != .gone)
        _ = pipe.takeReader()
        _ = pipe.takeNext()
        #expect(pipe.isDelivered && pipe.ending == .broken)
    }

    /// Any interleaving: the reader sees a prefix of what was written, in order, and the count of waiting bytes is exact.
    @Test(arguments: 0..<50) func nothingIsLostOrReordered(seed: Int) {
        var random = SeededGenerator(seed: UInt64(seed) + 1)
        var pipe = ChannelPipe(maximumMessages: 4, maximumBytes: 40)
        var written: [String] = []
        var seen: [String] = []
        _ = pipe.takeWriter()
        for step in 0..<300 {
            switch Int.random(in: 0..<4, using: &random) {
            case 0: _ = pipe.takeReader()
            case 1: while Bool.random(using: &random), let text = next(&pipe) { seen.append(text) }
            default:
                guard !pipe.isFull else { continue }
                written.append("\(step)")
                let keepsUp = Bool.random(using: &random)
                if accept(&pipe, "\(step)", readerKeepsUp: keepsUp) == .passOn { seen.append("\(step)") }
            }
            #expect(written.starts(with: seen))
            #expect(pipe.waitingBytes == written.dropFirst(seen.count).reduce(0) { $0 + $1.utf8.count })
        }
        _ = pipe.takeReader()
        pipe.writerEnded(.complete)
        while let text = next(&pipe) { seen.append(text) }
        #expect(seen == written && pipe.isDelivered)
    }
}
