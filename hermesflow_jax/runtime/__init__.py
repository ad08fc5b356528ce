"""Foundation of every job: devices, processes, storage, settings, terminal.

Devices and processes:

  platforms     kinds of devices that JAX may use
  accelerators  peak rates of chips, and slices of TPU chips
  sharding      device mesh, and the rules that place arrays on it
  batching      maps a function over rows, in chunks on the mesh
  dispatch      how far the host may run ahead of the devices
  processes     communication between the processes of a run
  interrupts    stop requests, checked between steps
  stop_handlers handlers of SIGTERM, SIGHUP and Ctrl-C

Files:

  storage       files in local folders and buckets
  atomic_file   local files that appear only when complete
  file_lock     locks an open file in limited time
  temporary_folders  go away also if their process is killed
  transfer      copies of folders between the two
  folder_lock   keeps two jobs out of a folder
  lock_record   names the process that holds a lock
  lock_turn     waits for a lock
  output_files  writes files, which appear only when complete
  write_faults  why a file cannot be written
  strict_json   JSON that other programs wrote

Settings:

  settings      builds dataclasses of settings and checks their bounds
  number_bounds numbers that devices can compute with
  type_hints    takes their annotations apart
  identities    settings that decide if two runs or models are the same

Commands: entry_point (signals, streams, exit code), output_streams (that may
be closed or full). Reports: terminal (messages and progress), timing (clocks).
"""
