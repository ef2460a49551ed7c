"""A folder or a list of pictures, up to millions, through one model: streamed, resumable, one output for each.

job.run_job joins them: what to do and what is done stands in a journal on the disk (journal), filled from folders and
lists (inputs); workers (worker) read, segment and write; threads of this process (threads) or Ray Data (ray_data) run
them.
"""
