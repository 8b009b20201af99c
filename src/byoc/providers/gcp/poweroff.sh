#!/bin/sh
# Powers the machine off; Google deletes what is left of it, its disk too, at its run limit.
PATH=$PATH:/usr/sbin:/sbin
exec shutdown -h now
