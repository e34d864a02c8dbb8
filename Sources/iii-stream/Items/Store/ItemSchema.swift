import IIIProtocol
import IIIStorage

/// Tables and statements of `EmbeddedItemStore`.
enum ItemSchema {
    /// The columns of an item that its checksum covers, in their order, then the checksum and the place.
    static let columns = "group_id, key, value, revision, created_ms, updated_ms, expires_ms, sum, place"
    static let checkedColumns = 0..<7

    static let tables = """
        CREATE TABLE groups(
            id INTEGER PRIMARY KEY, stream TEXT NOT NULL, name TEXT NOT NULL, items INTEGER NOT NULL, UNIQUE(stream, name)) STRICT;
        CREATE TABLE items(
            place INTEGER PRIMARY KEY AUTOINCREMENT, group_id INTEGER NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL,
            revision INTEGER NOT NULL, created_ms INTEGER NOT NULL, updated_ms INTEGER NOT NULL, expires_ms INTEGER,
            sum INTEGER NOT NULL) STRICT;
        CREATE UNIQUE INDEX items_by_key ON items(group_id, key);
        CREATE INDEX items_in_order ON items(group_id, place);
        CREATE INDEX items_by_expiry ON items(expires_ms) WHERE expires_ms IS NOT NULL;
        CREATE TABLE counters(name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
        INSERT INTO counters VALUES('revision', 0);
        """

    static let groupOf: SQL = "SELECT id, items FROM groups WHERE stream = ? AND name = ?"
    static let addGroup: SQL = """
        INSERT INTO groups(stream, name, items) VALUES(?, ?, 1) ON CONFLICT(stream, name) DO UPDATE SET items = items + 1 RETURNING id
        """
    static let oneItemLess: SQL = "UPDATE groups SET items = items - 1 WHERE id = ?"
    static let removeEmptyGroup: SQL = "DELETE FROM groups WHERE id = ? AND items <= 0"
    static let nextRevision: SQL = "UPDATE counters SET value = value + 1 WHERE name = 'revision' RETURNING value"
    static let revision: SQL = "SELECT value FROM counters WHERE name = 'revision'"

    static let item = SQL("SELECT \(columns) FROM items WHERE group_id = (SELECT id FROM groups WHERE stream = ? AND name = ?) AND key = ?")
    static let insert: SQL = """
        INSERT INTO items(group_id, key, value, revision, created_ms, updated_ms, expires_ms, sum) VALUES(?, ?, ?, ?, ?, ?, ?, ?)
        """
    static let update: SQL = """
        UPDATE items SET group_id = ?, key = ?, value = ?, revision = ?, created_ms = ?, updated_ms = ?, expires_ms = ?, sum = ?
        WHERE place = ?
        """
    static let remove: SQL = "DELETE FROM items WHERE place = ?"

    static let list = SQL(
        """
        SELECT \(columns) FROM items
        WHERE group_id = (SELECT id FROM groups WHERE stream = ? AND name = ?) AND place > ? AND (expires_ms IS NULL OR expires_ms > ?)
        ORDER BY place LIMIT ?
        """)
    /// The plus keeps the names' index out of it: they come in the order of their places.
    static let listOfPrefix = SQL(
        """
        SELECT \(columns) FROM items
        WHERE group_id = (SELECT id FROM groups WHERE stream = ? AND name = ?) AND place > ? AND (expires_ms IS NULL OR expires_ms > ?)
            AND +key >= ? AND +key < CAST(? AS TEXT)
        ORDER BY place LIMIT ?
        """)
    static let listByName = SQL(
        """
        SELECT \(columns) FROM items
        WHERE group_id = (SELECT id FROM groups WHERE stream = ? AND name = ?) AND (expires_ms IS NULL OR expires_ms > ?)
            AND key >= ? AND key < CAST(? AS TEXT)
        ORDER BY key LIMIT ?
        """)
    static func list(_ page: ItemPage) -> SQL {
        switch page.order {
        case .stored: page.prefix.count == 0 ? list : listOfPrefix
        case .name: listByName
        }
    }

    static let count: SQL = """
        SELECT count(*) FROM items
        WHERE group_id = (SELECT id FROM groups WHERE stream = ? AND name = ?) AND (expires_ms IS NULL OR expires_ms > ?)
        """
    /// Groups that have an item whose time is not over.
    private static let isAlive = """
        (SELECT count(*) FROM items WHERE group_id = groups.id AND expires_ms <= ?) < items
        """
    static let groupsOfStream = SQL("SELECT name FROM groups WHERE stream = ? AND \(isAlive) ORDER BY name")
    static let allGroups = SQL("SELECT stream, name FROM groups WHERE \(isAlive) ORDER BY stream, name")
    static let expired = SQL(
        """
        SELECT \(columns), (SELECT stream FROM groups WHERE id = group_id), (SELECT name FROM groups WHERE id = group_id)
        FROM items WHERE expires_ms <= ? ORDER BY expires_ms LIMIT ?
        """)
    static let isAnyMortal: SQL = "SELECT 1 FROM items WHERE expires_ms IS NOT NULL LIMIT 1"
    static let totals: SQL = "SELECT count(*), coalesce(sum(items), 0) FROM groups"
}

/// A row of `items`.
struct ItemRow: Sendable {
    let groupID: Int
    let key: ItemName
    let place: Int
    /// nil when the row is not what was written.
    let item: StoredItem?

    init(_ row: borrowing Row) {
        groupID = row.int(0)
        key = ItemName(row.text(1))
        place = row.int(8)
        guard row.isIntact(columns: ItemSchema.checkedColumns) else {
            item = nil
            return
        }
        item = StoredItem(
            text: row.bytes(2), revision: row.int(3), createdAt: row.int(4), updatedAt: row.int(5), expiresAt: row.optionalInt(6))
    }

    static func bind(_ item: StoredItem, key: ItemName, groupID: Int, to bindings: inout Bindings) {
        bindings.int(groupID)
        bindings.text(key.text)
        bindings.bytes(item.text)
        bindings.int(item.revision)
        bindings.int(item.createdAt)
        bindings.int(item.updatedAt)
        bindings.int(item.expiresAt)
        bindings.checksum()
    }
}
