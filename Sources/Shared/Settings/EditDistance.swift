/// Finds the word a user probably meant.
package enum EditDistance {
    /// Insertions, deletions, substitutions and swaps of neighbours that turn one word into the other.
    package static func between(_ left: String, _ right: String) -> Int {
        let a = Array(left.utf8)
        let b = Array(right.utf8)
        if a.isEmpty || b.isEmpty { return max(a.count, b.count) }
        var rows = [Array(0...b.count)]
        for i in 1...a.count {
            var row = [i]
            for j in 1...b.count {
                var cost = min(rows[i - 1][j] + 1, row[j - 1] + 1, rows[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1))
                if i > 1, j > 1, a[i - 1] == b[j - 2], a[i - 2] == b[j - 1] { cost = min(cost, rows[i - 2][j - 2] + 1) }
                row.append(cost)
            }
            rows.append(row)
        }
        return rows[a.count][b.count]
    }

    /// The closest candidate within `limit` edits; of equally close ones the first in alphabetical order.
    package static func nearest(to word: String, among candidates: some Sequence<String>, limit: Int = 2) -> String? {
        let scored = candidates.sorted().map { (distance: between(word, $0), candidate: $0) }
        return scored.filter { $0.distance <= limit && $0.distance < max(word.utf8.count, 1) }.min { $0.distance < $1.distance }?.candidate
    }
}
