import Glibc
import IIICron
import IIIWorker

/// `iii-cron` as tests need it: with a clock that is off by `III_CRON_SKEW_MS` and a lock store `probe` of its own, or, with the argument `next`, as a calculator of
/// fire times: one JSON object per line in (`expression`, `timezone`, `after`, `count`), the answer of `cron::next` per line out.
@main
final class CronProbe: CronWorker {
    override static func makeTimer() -> any TickTimer {
        let skew = getenv("III_CRON_SKEW_MS").flatMap { Int(String(cString: $0)) } ?? 0
        return SystemTickTimer(offsetMilliseconds: skew)
    }

    static func main() {
        guard CommandLine.arguments.contains("next") else {
            FireClaims.register(AdapterDeclaration("probe", "Where a test's locks are.")) { _ in { _ in ProbeClaims() } }
            CoreWorkerProcess.main(CronProbe.self)
        }
        var calculator = FireCalculator()
        while let line = readLine() { print(calculator.answer(line)) }
    }
}
