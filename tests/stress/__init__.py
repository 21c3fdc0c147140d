"""Many threads, many steps, many interrupts: state machines and storms."""
