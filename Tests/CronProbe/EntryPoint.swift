import ExampleLocks
import Glibc
import IIICron
import IIIWorker

/// `iii-cron` as tests need it: with a clock that is off by `III_CRON_SKEW_MS`, or that is set through the pipe `III_CRON_CLOCK`; or, with the argument `next`, as a calculator of
/// fire times: one JSON object per line in (`expression`, `timezone`, `after`, `count`), the answer of `cron::next` per line out.
@main
final class CronProbe: CronWorker {
    override static func makeTimer() -> any TickTimer {
        let skew = getenv("III_CRON_SKEW_MS").flatMap { Int(String(cString: $0)) } ?? 0
        if let pipe = getenv("III_CRON_CLOCK") { return SteeredTickTimer(pipe: String(cString: pipe), offsetMilliseconds: skew) }
        return SystemTickTimer(offsetMilliseconds: skew)
    }

    static func main() {
        guard CommandLine.arguments.contains("next") else {
            FireClaims.register(AdapterDeclaration("table", "A table in the process.")) { _ in { _ in TableClaims() } }
            CoreWorkerProcess.main(CronProbe.self)
        }
        var calculator = FireCalculator()
        while let line = readLine() { print(calculator.answer(line)) }
    }
}
