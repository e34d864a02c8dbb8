#if DEBUG
    /// Which transitions of a machine there were, for tests: a bit for each, because ten thousand orders of events set them.
    struct TransitionLog<State: RawRepresentable> where State.RawValue == Int {
        /// More than any machine has states.
        private static var width: Int { 11 }

        private var bits: UInt128 = 0

        mutating func note(_ state: State, _ next: State) { bits |= 1 << (state.rawValue * Self.width + next.rawValue) }

        func contains(_ state: State, _ next: State) -> Bool { bits >> (state.rawValue * Self.width + next.rawValue) & 1 == 1 }

        mutating func merge(_ other: TransitionLog) { bits |= other.bits }
    }
#endif
