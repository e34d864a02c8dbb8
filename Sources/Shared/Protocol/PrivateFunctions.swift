/// Whether `id` belongs to the contract between the core and its built-ins (design.md §4).
///
/// Only built-ins may call these. Nor may a built-in call one because a user named it, as the target or the guard of a
/// trigger: the call would carry the built-in's privileges.
package func isPrivateFunction(_ id: String) -> Bool { id.hasPrefix("core::") || id.hasPrefix("builtin::") }
